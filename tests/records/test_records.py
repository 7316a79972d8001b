"""The records: their JSON, their way back, and what the fingerprint notices."""

import json
from dataclasses import asdict, fields, is_dataclass, replace

import pytest

from hf_prune import records
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Block, Speed, fingerprint, from_data, to_json
from hf_prune.stages import run as report
from tests.support.sample_cards import replacing_run
from tests.support.sample_run import (
    sample_bridge,
    sample_encoder_run,
    sample_estimate,
    sample_export,
    sample_growth,
    sample_healing,
    sample_no_healing,
    sample_plan,
    sample_run,
    sample_score,
    sample_sorted_run,
    sample_speculation,
    sample_tournament,
    sample_writing,
)


def parts(record: object) -> list[object]:
    """The fields of a record that are records."""
    values = (getattr(record, field.name) for field in fields(record))
    return [value for value in values if hasattr(value, "__dataclass_fields__")]


RUN = sample_run()
RECIPE = Recipe(model="owner/name", layers="13-18,20")
BRIDGE = sample_bridge(sample_plan(recipe=RECIPE))
CITED = records.Citation(title="A paper", paper="2403.17887", bibtex=None)
BEFORE = replacing_run().before
PUBLISHED = records.Published(repo_id="a/b", url="https://huggingface.co/a/b", commit="c0ffee", private=True)
SAMPLES = [
    RUN,
    *(value for value in parts(RUN) if not isinstance(value, records.Attempt)),
    sample_run(variants=("cut",)),
    RECIPE,
    BRIDGE,
    PUBLISHED,
    BEFORE,
    CITED,
    records.Proved(checkpoint=RUN.result, proof=RUN.proofs[0]),
    records.ProvedBridge(bridge=BRIDGE, checkpoint=RUN.result, proof=RUN.proofs[0]),
    records.ProvedBridge(bridge=BRIDGE, checkpoint=None, proof=None),
    records.ProvedHealing(healing=sample_healing(), checkpoint=RUN.result, proof=RUN.proofs[0]),
    records.ProvedHealing(healing=sample_no_healing("no room"), checkpoint=None, proof=None),
    records.ProvedGrowth(growth=sample_growth(), checkpoint=RUN.result, proof=RUN.proofs[0]),
    sample_sorted_run(),
    records.DepthLoss(layers=12, before=None, after=3.5),
    *sample_sorted_run().evaluated.depths,
    sample_encoder_run(),
    *[speed.decode_speed_up for speed in RUN.evaluated.speeds.found if speed.decode_speed_up],
    *RUN.evaluated.perplexities,
    *RUN.evaluated.speeds.found,
    *RUN.evaluated.choices,
    records.Answer(losses=(1.5, 2.5), is_right=True),
    *RUN.proofs,
    Block(start=3, end=7),
    records.Selected(similarity=RUN.similarity, plan=RUN.plan),
    sample_tournament((13, 14, 15)),
    sample_estimate(),
    sample_score("healed", 0.4823),
    sample_speculation(),
    records.Variant(name="cut", anatomy=RUN.dense),
    records.Continuations(variant="cut", texts=((5, 7), (3,)), reason=None),
    records.AskedTasks(
        tasks=(records.AskedTask(name="mmlu", figures_of=("mmlu",), sha256="e" * 64),), harness="0.4.13"
    ),
    sample_writing("dense", 0.12, None),
    sample_export(),
    records.Presentation(template_name="ours.md.j2", template="{{ run.name }}", notes=None),
    records.NamedLayers((3, 4)),
    records.LayerCount(2),
    records.WithinLoss(0.05),
    records.CutLosses(losses=(1.0, 2.5), divergences=(0.0, 0.5)),
    records.RemovalOrder(layers=(3, 1), losses=(1.5, 2.0), width=None, text=RUN.similarity.calibration),
]


def named(record: object) -> str:
    return type(record).__name__


@pytest.mark.parametrize("record", SAMPLES, ids=named)
def test_every_record_comes_back_from_its_json_as_it_was(record):
    back = from_data(type(record), json.loads(to_json(record)))
    assert back == record
    assert hash(back) == hash(record)  # a list where a tuple belongs would not hash


@pytest.mark.parametrize(
    "attempt",
    [records.Attempt(found=(sample_export(),)), records.Attempt(reason="no room"), records.NOT_ASKED_FOR],
)
def test_an_attempt_comes_back_as_it_was(attempt):
    assert from_data(records.Attempt[records.Export], json.loads(to_json(attempt))) == attempt


def test_no_record_of_the_module_is_left_out_of_the_round_trip():
    def inside(value: object) -> set[str]:
        if isinstance(value, tuple):
            return set().union(*(inside(item) for item in value)) if value else set()
        if not hasattr(value, "__dataclass_fields__"):
            return set()
        return {named(value)}.union(*(inside(getattr(value, field.name)) for field in fields(value)))

    classes = (value for value in vars(records).values() if isinstance(value, type))
    kinds = {kind.__name__ for kind in classes if is_dataclass(kind)}
    assert kinds <= set().union(*(inside(sample) for sample in SAMPLES))


def test_a_run_speaks_of_its_schema():
    assert json.loads(to_json(RUN))["schema_version"] == report.SCHEMA_VERSION


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        (Block, {"start": 1, "end": 2, "size": 1}, "Block has no field size"),
        (Block, {"start": 1}, "end"),
        (Block, {}, "start"),
        (Block, [1, 2], "not from list"),
        (Block, None, "not from NoneType"),
        (records.Proved, {"checkpoint": {"variant": "cut"}, "proof": None}, "folder"),
        (records.Plan, {**asdict(RUN.plan), "blocks": [{"start": 1, "stop": 2}]}, "Block has no field stop"),
    ],
)
def test_refuses_unknown_and_missing_fields_at_any_depth(kind, data, told):
    with pytest.raises(ValueError, match=told):
        from_data(kind, data)


def test_refuses_a_pair_of_three():
    data = asdict(RUN.evaluated.speeds.found[0]) | {"decode_tokens_per_second_range": [1.0, 2.0, 3.0]}
    with pytest.raises(ValueError, match="zip"):
        from_data(Speed, data)


def test_whole_numbers_come_back_as_floats_where_the_field_is_one():
    data = json.loads(to_json(RUN.evaluated.perplexities[0])) | {"loss": 3}
    loss = from_data(records.Perplexity, data).loss
    assert (loss, type(loss)) == (3.0, float)


def test_equal_values_give_equal_bytes_in_any_order():
    assert to_json({"b": 1, "a": (1, 2)}) == to_json({"a": [1, 2], "b": 1})
    assert to_json(sample_run()) == to_json(sample_run())


def test_json_is_readable_text_with_no_value_that_json_lacks():
    assert "Qwen é" in to_json({"model": "Qwen é"})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            to_json({"loss": value})


@pytest.mark.parametrize("field", [field.name for field in fields(Recipe)])
def test_the_fingerprint_changes_with_every_field_of_the_recipe(field):
    assert fingerprint(replace(RECIPE, **{field: "another value"})) != fingerprint(RECIPE)


def test_the_fingerprint_is_of_all_inputs_and_the_same_for_equal_ones():
    assert fingerprint(RECIPE, "a", (1, 2)) == fingerprint(replace(RECIPE), "a", [1, 2])
    assert fingerprint(RECIPE, "a") != fingerprint(RECIPE, "b")
    assert fingerprint("a", "b") != fingerprint("b", "a")
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert len(fingerprint(RECIPE)) == 16


@pytest.mark.parametrize(("block", "text"), [((3, 4), "3"), ((3, 5), "3-4"), ((0, 10), "0-9")])
def test_a_block_is_shown_with_its_last_layer(block, text):
    assert str(Block(start=block[0], end=block[1])) == text
