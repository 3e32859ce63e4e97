from __future__ import annotations

import time

import pytest
from sqlalchemy.orm import Session

from hosting.storage import predictions, uploads
from hosting.storage.quota import QuotaExceeded
from hosting.storage.tables import Token
from tests.support.front import upload


def test_an_upload_is_there_for_its_owner_until_its_time_is_over(
    session: Session, ann: Token, bob: Token
) -> None:
    young, old = upload(ann), upload(ann, expires_at=time.time() - 1)
    for one in (young, old):
        uploads.add(session, one, 100)
    assert uploads.find(session, young.id, ann.id) is young
    assert uploads.find(session, young.id, bob.id) is None
    assert uploads.find(session, old.id, ann.id) is None
    uploads.forget(session, young.id)
    assert uploads.find(session, young.id, ann.id) is None


def test_uploads_expire_when_their_time_is_over(session: Session, ann: Token) -> None:
    old, young = upload(ann, expires_at=99.0), upload(ann, expires_at=101.0)
    for one in (old, young):
        uploads.add(session, one, 100)
    assert uploads.expire(session, 100.0) == [old.id]
    assert predictions.unknown_ids(session, [old.id, young.id, "none"]) == {old.id, "none"}


def test_a_token_keeps_as_much_as_it_may_and_no_more(
    session: Session, ann: Token, bob: Token
) -> None:
    mib = 2**20
    first = upload(ann, size=6 * mib)
    uploads.add(session, first, 10 * mib)
    uploads.add(session, upload(ann, size=9 * mib, expires_at=time.time() - 1), 20 * mib)
    with pytest.raises(QuotaExceeded) as refused:
        uploads.add(session, upload(ann, size=4 * mib + 1), 10 * mib)
    assert str(refused.value) == (
        "Your uploads and the input files of your predictions have 6.0 MiB, what you send has "
        "4.0 MiB, and together they may have 10 MiB; delete uploads, or wait until files expire"
    )
    uploads.add(session, upload(ann, size=4 * mib), 10 * mib)
    uploads.add(session, upload(bob, size=10 * mib), 10 * mib)
    uploads.forget(session, first.id)
    uploads.add(session, upload(ann, size=6 * mib), 10 * mib)
