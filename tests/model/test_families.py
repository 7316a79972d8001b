"""docs/families.md is true of every type; and the proof sees through cuts that were made wrongly."""

import tomllib
from pathlib import Path

import pytest
import transformers

from tests.support.families import CAUSAL_TYPES
from tests.support.matrix import TABLE, VERDICTS, outcome_of, page_version, written_table

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries' own, in families that nobody tends

ROOT = TABLE.parent.parent
OTHER_VERSION = (
    f"docs/families.md is of transformers {page_version()}, and {transformers.__version__} is installed: "
    f"`python -m tests.support.matrix` writes the page anew"
)


def test_the_page_is_of_the_transformers_that_is_pinned():
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    pinned = [pin for pin in pins if pin.startswith("transformers==")]
    if pins:  # none where the oldest or the newest versions are tried
        assert pinned == [f"transformers=={page_version()}"], OTHER_VERSION


def test_the_table_has_every_causal_type_and_most_of_them_are_exact():
    table = written_table()
    if transformers.__version__ == page_version():
        assert sorted(table) == list(CAUSAL_TYPES), OTHER_VERSION
    verdicts = [outcome.verdict for outcome in table.values()]
    assert set(verdicts) == set(VERDICTS)
    assert verdicts.count("exact") >= 150
    readme = " ".join((ROOT / "README.md").read_text().split())
    exact, minor = verdicts.count("exact"), page_version().rpartition(".")[0]
    assert f"of the {len(verdicts)} causal types of transformers {minor}, [{exact} are cut exactly]" in readme


@pytest.mark.slow
@pytest.mark.parametrize("model_type", CAUSAL_TYPES)
def test_what_the_table_says_of_a_family_is_what_happens(tmp_path: Path, model_type: str):
    if model_type not in written_table():
        pytest.skip(f"{model_type} is not on the page; {OTHER_VERSION}")
    assert outcome_of(model_type, tmp_path) == written_table()[model_type], OTHER_VERSION


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["llava", "qwen3_vl", "mistral3", "paligemma", "internvl", "smolvlm"])
def test_the_text_decoder_inside_a_multimodal_model_is_cut_exactly(tmp_path: Path, model_type: str):
    assert outcome_of(model_type, tmp_path).verdict == "exact"
