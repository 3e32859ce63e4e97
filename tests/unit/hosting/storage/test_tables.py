from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from hosting.prediction import Prediction
from hosting.states import FailureKind, Status
from hosting.storage.tables import PredictionRow

FOX = Prediction(
    id="fox",
    token_id="own",
    task="img2img",
    model="a/b",
    version="v",
    source="http://localhost",
    input={"prompt": "fox"},
    request={"prompt": "fox", "seed": 7},
    files={},
    ready=True,
)


def test_a_row_has_the_columns_that_a_prediction_has_fields() -> None:
    columns = {column.key for column in PredictionRow.__table__.columns}
    assert columns == {field.name for field in fields(Prediction)}


def test_a_prediction_comes_back_from_its_row() -> None:
    failed = replace(FOX, number=3, status=Status.FAILED, failure=FailureKind.NSFW, logs="half")
    for prediction in (FOX, failed):
        assert PredictionRow.of(prediction).frozen() == prediction


def test_a_prediction_stays_as_it_is_when_its_row_changes() -> None:
    row = PredictionRow.of(FOX)
    before = row.frozen()
    row.status, row.output = Status.SUCCEEDED, ["out-0.png"]
    assert before == FOX
    with pytest.raises(FrozenInstanceError):
        before.status = Status.SUCCEEDED  # type: ignore[misc]
