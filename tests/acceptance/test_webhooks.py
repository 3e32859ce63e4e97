"""Webhooks as a receiver sees them, checked by Replicate's own client."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.webhook import InvalidSignatureError, Webhooks
from sqlalchemy import func, select

from hosting.storage.tables import Delivery
from tests.support.front_process import (
    Call,
    Front,
    Site,
    all_slots_taken,
    ask,
    endless_prediction,
    small,
    until,
)

STATUSES = ["starting", "processing", "succeeded"]


def told(site: Site, path: str = "/hook") -> list[dict[str, Any]]:
    """What the receiver was told: the bodies, in their order."""
    return [json.loads(call.body) for call in site.to(path)]


def is_over(site: Site, path: str = "/hook") -> bool:
    return any(body["status"] == "succeeded" for body in told(site, path)[-1:])


def nothing_is_due(front: Front, prediction_id: str) -> bool:
    """Whether no webhook of a prediction will be called any more."""
    database = front.database()
    due = select(func.count()).where(Delivery.prediction_id == prediction_id)
    count: int | None = database.write_now(lambda session: session.scalar(due))
    database.close()
    return count == 0


def validate(call: Call, client: Client, **changed: Any) -> None:
    secret = client.webhooks.default.secret()
    values = {"headers": call.headers, "body": call.body, "tolerance": 3600, **changed}
    Webhooks.validate(secret=secret, **values)


def test_all_that_happens_is_told_in_order(front: Front, client: Client, site: Site) -> None:
    prediction = ask(client, small(num_outputs=2), webhook=f"{site.url}/hook")
    until(lambda: is_over(site) and nothing_is_due(front, prediction.id))
    bodies = told(site)
    assert {body["id"] for body in bodies} == {prediction.id}
    # At least the start, two outputs and the end.
    assert len(bodies) >= 4
    for before, now in itertools.pairwise(bodies):
        assert STATUSES.index(before["status"]) <= STATUSES.index(now["status"])
        assert now["logs"].startswith(before["logs"])
        assert (now["output"] or [])[: len(before["output"] or [])] == (before["output"] or [])
    assert "3/3" in bodies[-1]["logs"]
    assert len(bodies[-1]["output"]) == 2
    ids = [call.headers["webhook-id"] for call in site.to("/hook")]
    assert len(set(ids)) == len(ids)


def test_the_start_is_told_when_it_starts(
    front: Front, client: Client, bob: Client, site: Site
) -> None:
    with all_slots_taken(bob):
        hook = {"webhook": f"{site.url}/hook", "webhook_events_filter": ["start"]}
        prediction = ask(client, small(), **hook)
        assert nothing_is_due(front, prediction.id)
        assert told(site) == []
    prediction.wait()
    until(lambda: nothing_is_due(front, prediction.id))
    (body,) = told(site)
    assert body["id"] == prediction.id
    assert body["started_at"]


@pytest.mark.parametrize(("event", "calls"), [("output", 2), ("completed", 1)])
def test_only_what_is_wanted_is_told(
    front: Front, client: Client, site: Site, event: str, calls: int
) -> None:
    hook = {"webhook": f"{site.url}/hook", "webhook_events_filter": [event]}
    prediction = ask(client, small(num_outputs=2), **hook)
    prediction.wait()
    until(lambda: nothing_is_due(front, prediction.id))
    bodies = told(site)
    # Two that come at once may be told as one.
    assert 1 <= len(bodies) <= calls
    assert len(bodies[-1]["output"]) == 2
    assert all(body["output"] for body in bodies)
    if event == "completed":
        assert bodies[0]["status"] == "succeeded"


def test_logs_are_told_while_it_runs(client: Client, site: Site) -> None:
    hook = {"webhook": f"{site.url}/hook", "webhook_events_filter": ["logs"]}
    with endless_prediction(client, **hook) as prediction:
        until(lambda: len(told(site)) >= 2)
        first, second = told(site)[:2]
        assert (first["id"], first["status"], first["output"]) == (
            prediction.id,
            "processing",
            None,
        )
        assert first["logs"].startswith("seed 1\n")
        assert len(first["logs"]) < len(second["logs"])


def test_webhook_completed_is_the_end_alone(front: Front, client: Client, site: Site) -> None:
    prediction = ask(client, small(), webhook_completed=f"{site.url}/hook")
    prediction.wait()
    until(lambda: nothing_is_due(front, prediction.id))
    assert [body["status"] for body in told(site)] == ["succeeded"]


def test_failures_and_cancellations_are_told(front: Front, client: Client, site: Site) -> None:
    hook = {"webhook": f"{site.url}/hook", "webhook_events_filter": ["completed"]}
    failing = ask(client, small(image=f"{site.url}/nothing.png"), **hook)
    failing.wait()
    until(lambda: nothing_is_due(front, failing.id))
    with endless_prediction(client, **hook) as canceled:
        pass
    until(lambda: nothing_is_due(front, canceled.id))
    assert [(body["status"], body["error"]) for body in told(site)] == [
        ("failed", "image: 127.0.0.1 answered 404"),
        ("canceled", None),
    ]


def test_the_body_is_the_prediction_as_it_is_got(front: Front, client: Client, site: Site) -> None:
    hook = {"webhook": f"{site.url}/hook", "webhook_events_filter": ["completed"]}
    prediction = ask(client, small(), **hook)
    until(lambda: is_over(site))
    with front.http("ada") as http:
        got = http.get(f"/v1/predictions/{prediction.id}").text
        (output,) = told(site)[0]["output"]
        assert http.get(output).headers["content-type"] == "image/png"

    def unsigned(text: str) -> Any:  # a link's signature changes with the hour
        return json.loads(re.sub(r'\?expires=[^"]*', "", text))

    (call,) = site.to("/hook")
    assert unsigned(call.body) == unsigned(got)
    assert call.headers["content-type"] == "application/json"


def test_a_signature_is_good_for_its_body_and_its_token(
    client: Client, bob: Client, site: Site
) -> None:
    ask(client, small(), webhook=f"{site.url}/hook")
    ask(bob, small(), webhook=f"{site.url}/bob")
    until(lambda: is_over(site) and is_over(site, "/bob"))
    for call in site.to("/hook"):
        validate(call, client)
        with pytest.raises(InvalidSignatureError):
            validate(call, client, body=call.body.replace("succeeded", "failed") + " ")
        with pytest.raises(InvalidSignatureError):
            validate(call, client, headers={**call.headers, "webhook-id": "another"})
        with pytest.raises(InvalidSignatureError):
            validate(call, bob)
    validate(site.to("/bob")[0], bob)
    secrets = [one.webhooks.default.secret().key for one in (client, bob)]
    assert secrets[0] != secrets[1]
    assert secrets[0] == client.webhooks.default.secret().key


def test_a_receiver_that_fails_is_called_again_until_it_does_not(
    front: Front, client: Client, site: Site
) -> None:
    site.answers["/hook"] = [500, 500]
    hook = {"webhook": f"{site.url}/hook", "webhook_events_filter": ["completed"]}
    prediction = ask(client, small(), **hook)
    until(lambda: len(site.to("/hook")) == 3)
    until(lambda: nothing_is_due(front, prediction.id))
    calls = site.to("/hook")
    assert len(calls) == 3
    assert len({call.headers["webhook-id"] for call in calls}) == 1
    for call in calls:
        validate(call, client)
    assert [body["status"] for body in told(site)] == ["succeeded"] * 3


def test_only_the_end_is_told_again(front: Front, client: Client, site: Site) -> None:
    site.answers["/hook"] = [500]
    hook = {"webhook": f"{site.url}/hook", "webhook_events_filter": ["start", "completed"]}
    prediction = ask(client, small(), **hook)
    until(lambda: is_over(site) and nothing_is_due(front, prediction.id))
    ids = [call.headers["webhook-id"] for call in site.to("/hook")]
    assert len(ids) == len(set(ids)) == 2


def test_what_is_no_webhook_is_refused(client: Client) -> None:
    with pytest.raises(ReplicateError, match="webhook: ") as error:
        ask(client, small(), webhook="ftp://127.0.0.1/")
    assert error.value.status == 422
    with pytest.raises(ReplicateError, match=r"webhook_events_filter\.0: "):
        ask(client, small(), webhook="http://127.0.0.1/", webhook_events_filter=["ended"])
