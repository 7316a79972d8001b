"""The model card: its text whole, its metadata through huggingface_hub, and every figure traced."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from jinja2 import UndefinedError

from hf_prune.records import Attempt
from hf_prune.stages.card import card
from hf_prune.stages.card import numbers as figures
from hf_prune.stages.card.card import render_depth_card
from hf_prune.stages.card.metadata import card_metadata
from hf_prune.stages.card.pictures import HEALING, picture_paths, render_pictures
from hf_prune.stages.card.templates import NO_BREAK, card_environment
from hf_prune.stages.run import Run
from hf_prune.stages.source.licence import TERMS
from tests.support.sample_cards import (
    RUNS,
    bare_run,
    converted_run,
    cut_and_grown_run,
    diverged_run,
    greedy_run,
    healed_run,
    healed_without_bridge_run,
    own_draft_run,
    partly_bridged_run,
    questioned_run,
    replaced_run,
    slow_sorted_run,
    trained_whole_run,
    undrafted_run,
    unkept_run,
    unpublished_bridge_run,
    unscored_run,
    untied_run,
    untrained_growth_run,
    with_head_of_its_own,
)
from tests.support.sample_run import (
    remeasured,
    sample_anatomy,
    sample_checkpoint,
    sample_grown_run,
    sample_no_healing,
    sample_run,
    sample_sorted_run,
    sample_speculation,
)

LINKED = (
    "https://huggingface.co/",
    "https://arxiv.org/abs/",
    "https://docs.vllm.ai",
    "https://github.com/EleutherAI/lm-evaluation-harness",
    "https://github.com/ggml-org/llama.cpp",
    *(address for terms in TERMS.values() for _, address in terms.links),
    "plots/",
    "LICENSE",
    "USE_POLICY",
    "NOTICE",
)


each_run = pytest.mark.parametrize("make", RUNS, ids=[make.__name__ for make in RUNS])
MakeRun = Callable[[], Run]


def render_card(run: Run, repo_id: str | None = None) -> str:
    """The card with plain spaces, so that its rows can be quoted."""
    return card.render_card(run, repo_id).replace(NO_BREAK, " ")


def tables(text: str) -> Iterator[list[str]]:
    yield from (block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE))


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def prose(text: str) -> str:
    return re.sub(r"```.*?```", "", text.split("\n---\n", 1)[1], flags=re.DOTALL)


def test_card_reads_as_agreed(golden: Callable[[str, str], None]) -> None:
    golden("model_card.md", card.render_card(healed_run()))
    golden("grown_card.md", card.render_card(sample_grown_run()))
    golden("sorted_card.md", card.render_card(sample_sorted_run(), "someone/SmolLM2-135M-sorted"))


@each_run
def test_card_prints_no_missing_value(make: MakeRun) -> None:
    text = render_card(make())
    assert "None" not in text
    assert "Undefined" not in text
    assert "\n\n\n" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


@each_run
def test_card_has_whole_tables(make: MakeRun) -> None:
    for rows in tables(render_card(make())):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
        assert len(widths) == 1, rows
        assert len(rows) > 2, rows


@each_run
def test_card_has_whole_links(make: MakeRun) -> None:
    text = prose(render_card(make()))
    links = re.findall(r"\[([^\[\]]+)\]\(([^()\s]+)\)", text)
    assert len(links) == text.count("](")
    for _, target in links:
        assert target.startswith(LINKED)


@each_run
def test_card_shows_each_picture_that_there_is_with_words_for_it(make: MakeRun) -> None:
    run = make()
    shown = dict(re.findall(r"!\[([^\[\]]{30,})\]\(([^()\s]+)\)", render_card(run)))
    assert sorted(shown.values()) == sorted(filter(None, picture_paths(run).values()))


@pytest.mark.parametrize(
    "make",
    [healed_run, diverged_run, bare_run, greedy_run, cut_and_grown_run, sample_sorted_run, trained_whole_run],
)
def test_every_picture_that_the_card_shows_is_made(make: MakeRun) -> None:
    run = make()
    pictures = render_pictures(run)
    assert sorted(pictures) == sorted(filter(None, picture_paths(run).values()))
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


def test_metadata_survives_huggingface_hub() -> None:
    run = sample_run()
    data = ModelCard(render_card(run)).data
    assert data.to_dict() == card_metadata(run).to_dict()
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M"
    assert data["base_model_relation"] == "finetune"
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation"
    assert data.license == "apache-2.0"
    assert data.language == ["en"]
    assert data.model_name == run.name
    assert data.tags == ["pruned", "layer-pruning", "depth-pruning", "hf-prune"]
    assert data["metrics"] == ["accuracy", "perplexity"]
    result = (data.eval_results or [])[0]
    assert result.metric_value == run.evaluated.perplexities[-1].perplexity  # not rounded
    assert result.dataset_type == "allenai/c4"


def test_metadata_tells_of_the_published_variant() -> None:
    run = unpublished_bridge_run()
    results = ModelCard(render_card(run)).data.eval_results or []
    assert results[0].metric_value == run.evaluated.perplexities[1].perplexity
    assert results[1].metric_value == run.evaluated.choices[1].accuracy


def test_metadata_leaves_out_what_is_not_known() -> None:
    metadata = ModelCard(render_card(bare_run())).data.to_dict()
    unknown = {"base_model", "base_model_relation", "license", "language", "model-index"}
    assert not unknown & set(metadata)


def test_metadata_inherits_a_licence_of_its_own() -> None:
    text = render_card(converted_run())
    metadata = ModelCard(text).data
    assert (metadata.license, metadata.license_name) == ("other", "llama2")
    assert metadata.license_link == "LICENSE.txt"
    page = "https://huggingface.co/HuggingFaceTB/SmolLM2-135M/blob/main/LICENSE.txt"
    assert f"[llama2]({page})" in text
    assert "gated" in section(text, "Licence")


def test_card_tells_nothing_of_local_folders() -> None:
    run = bare_run()
    assert "someone" not in render_card(run)
    assert "/cache" not in render_card(run)


def test_card_uses_the_repository_once_it_is_known() -> None:
    text = render_card(sample_run(), repo_id="someone/SmolLM2-135M-22L")
    assert text.count('"someone/SmolLM2-135M-22L"') == 3
    assert '"./' not in text


def test_card_says_why_speed_is_missing() -> None:
    text = render_card(bare_run())
    said = "Speed and memory were not measured: this machine has less memory than the original needs."
    assert section(text, "Speed").strip() == said
    assert "Tokens/s" not in section(text, "At a glance")


def test_card_tells_how_fast_both_are_and_on_what() -> None:
    text = section(render_card(sample_run()), "Speed")
    for row in (
        "| Seconds to the first token | 0.158 (0.154 to 0.165) | 0.117 (0.115 to 0.123) |",
        "| Tokens/s, one text at a time | 31.4 (30.2 to 32.4) | 41.8 (40.2 to 43.1) |",
        "| Tokens/s, 8 texts at once | 97.4 (94.2 to 101) | 130 (125 to 134) |",
        "| Speed-up, one text at a time |  | 1.33 (1.30 to 1.34) |",
        "| Peak memory | 701 MB | 589 MB |",
        "| KV cache for 1000 tokens | 23 MB | 16.9 MB |",
        "| Size of the weights | 269 MB | 212 MB |",
    ):
        assert row in text.splitlines()
    assert "Median and range of 5 runs" in text
    assert "128 prompt tokens, 64 new tokens, bfloat16, device cpu, 2 threads, Intel Xeon" in text


def test_card_does_not_speak_of_many_texts_at_once_where_they_were_not_tried() -> None:
    run = sample_run()
    batch = ("batch_size", "batch_tokens_per_second", "batch_tokens_per_second_range", "batch_speed_up")
    alone = dict.fromkeys(batch)
    speeds = tuple(replace(speed, **alone) for speed in run.evaluated.speeds.found)
    text = render_card(remeasured(run, speeds=Attempt(found=speeds)))
    assert "at once" not in section(text, "Speed")


def test_figures_in_a_table_stay_on_one_line() -> None:
    text = card.render_card(sample_run())
    assert f"| 65.6{NO_BREAK}±{NO_BREAK}6.0{NO_BREAK}% |" in text
    assert NO_BREAK not in re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)


def test_card_shows_tasks_of_either_kind_apart() -> None:
    text = section(render_card(healed_run()), "Evaluation")
    chosen, written = text.split("### Tasks with a written answer")
    assert "| `arc_easy` | `acc` | 0 | 1188 | 61.3 ± 1.5 % | 44.7 ± 1.5 % | 49.6 ± 1.5 % | 55.2" in chosen
    assert "| `wikitext` | `word_perplexity` | 0 | 62 | 15.9 | 41.1 | 29.9 | 21.8 |" in chosen
    assert "gsm8k" not in chosen
    assert "| `gsm8k` | `exact_match` (strict-match) | 5 | 1319 | 28.7 ± 0.9 % |" in written
    assert "task accuracy" not in text


def test_card_says_why_no_task_was_measured() -> None:
    text = section(render_card(unscored_run()), "Evaluation")
    assert "were not measured: lm-evaluation-harness is not installed." in text


def test_card_shows_what_each_variant_wrote() -> None:
    run = healed_run()
    unruly = "It said:\n```\n| no table |\n# no title"
    *others, last = run.evaluated.writings.found
    writings = Attempt(found=(*others, replace(last, sample=unruly)))
    text = section(render_card(remeasured(run, writings=writings)), "Evaluation")
    assert f"Healed:\n\n````text\n{unruly}\n````\n" in text
    assert "| Original |  | 12.3 ± 3.1 % | 8 | 64 |" in text
    assert "| **Healed** | 9.38 | 21.2 ± 3.1 % | 8 | 64 |" in text


def test_card_says_how_each_other_format_is_loaded_and_what_was_checked() -> None:
    text = section(render_card(healed_run(), "owner/small"), "Other formats")
    assert "| ONNX | `onnx/model.onnx` | 431 MB | 0.0068 | 20 greedy tokens: the same as PyTorch's |" in text
    assert "(**not passed**) |" in text
    assert 'subfolder="onnx", file_name="model.onnx"' in text
    assert 'For ONNX, 8 bits, use the same code with `file_name="model_quantized.onnx"`.' in text
    assert "llama-cli --hf-repo owner/small --hf-file SmolLM2-135M-22L-F16.gguf" in text
    assert "Written and run with onnx 1.23.2, onnxruntime 1.31.1, gguf 0.17.1." in text
    local = section(render_card(healed_run()), "Other formats")
    assert "llama-cli --model ./SmolLM2-135M-22L/SmolLM2-135M-22L-F16.gguf" in local
    assert "## Other formats" not in render_card(sample_run())
    unexported = replace(sample_run(), exports=Attempt(reason="onnx: no room"))
    missing = section(render_card(unexported), "Other formats")
    assert "Some requested formats are missing: onnx: no room." in missing


def test_a_model_that_was_trained_as_a_whole_is_no_model_of_many_depths() -> None:
    text = render_card(remeasured(sample_sorted_run(), depths=()))
    assert "trained on 299,008 tokens by training all of its weights" in text
    assert "models of their own" not in text


def test_card_shows_a_conversation_only_where_the_tokenizer_has_a_template() -> None:
    assert "apply_chat_template(" in section(render_card(healed_run()), "How to use")
    assert "apply_chat_template(" not in section(render_card(sample_run()), "How to use")


@each_run
def test_code_on_the_card_is_python(make: MakeRun) -> None:
    for code in re.findall(r"```python\n(.*?)```", render_card(make()), re.DOTALL):
        compile(code, "card", "exec")


@pytest.mark.parametrize(
    ("with_draft", "sentence"),
    [
        ((37.1, 38.4), "The draft pays off: 1.21 times"),
        ((20.0, 21.0), "The draft does not pay off here: 1.21 times"),
        ((30.0, 38.4), "It is unclear whether the draft pays off"),
    ],
)
def test_card_says_whether_a_draft_pays(with_draft: tuple[float, float], sentence: str) -> None:
    speculation = replace(sample_speculation(), tokens_per_second_range=with_draft)
    text = render_card(remeasured(healed_run(), speculations=Attempt(found=(speculation,))))
    assert sentence in section(text, "As a draft of its original")


def test_card_shows_how_the_original_writes_with_its_draft() -> None:
    text = section(render_card(healed_run(), "someone/small"), "As a draft of its original")
    assert 'original = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M")' in text
    assert 'draft = AutoModelForCausalLM.from_pretrained("someone/small")' in text
    assert "original.generate(**inputs, assistant_model=draft, max_new_tokens=50)" in text
    assert "Each text was the same with and without" in text


def test_card_of_a_model_that_is_its_own_draft_judges_each_depth() -> None:
    text = section(render_card(own_draft_run()), "As a draft of itself")
    assert "The first 12 layers do not pay off here" in text
    assert "The first 16 layers pay off" in text
    assert "It is unclear whether the first 20 layers pay off" in text
    assert "With the first 20 layers, some texts differ from those written without" in text
    assert "Each text was the same" not in text
    assert "assistant_early_exit=16" in text  # the fastest


def test_card_says_why_a_draft_was_not_tried() -> None:
    text = section(render_card(undrafted_run()), "As a draft of its original")
    assert "Not measured: cannot use a draft with it." in text
    assert "assistant_model" not in text


def test_card_says_why_not_every_depth_was_tried_as_a_draft() -> None:
    run = own_draft_run()
    run = remeasured(run, speculations=replace(run.evaluated.speculations, reason="no room"))
    assert "Other depths were not measured: no room." in section(render_card(run), "As a draft of itself")


def test_card_says_nothing_of_drafts_where_none_was_asked_for() -> None:
    assert "draft" not in render_card(sample_run())


def test_card_gives_no_error_of_a_single_sequence() -> None:
    assert "±" not in render_card(bare_run())


def test_card_says_what_kind_of_accuracy_was_measured() -> None:
    texts = [" ".join(render_card(make()).split()) for make in (sample_run, questioned_run, bare_run)]
    assert "Continuing text is not a task, so no task accuracy was measured." in texts[0]
    assert "Perplexity and multiple choice were measured on one text only: `c4_heldout`" in texts[0]
    assert "Accuracy was measured on these items only." in texts[1]
    assert "Multiple choice was measured on 64 items of ``a|b`c.jsonl``" in texts[1]
    assert "No task accuracy was measured." in texts[2]
    assert "Accuracy" not in texts[2]


def test_card_shows_each_variant_s_own_accuracy_and_agreement() -> None:
    rows = section(render_card(sample_run()), "Evaluation").splitlines()
    assert "| Original | 65.6 ± 6.0 % |  |  | 64 | `c4_heldout` |" in rows
    assert "| **Cut and bridged** | 51.6 ± 6.3 % | 76.6 % | 76.3 % | 64 | `c4_heldout` |" in rows
    glance = section(render_card(sample_run()), "At a glance")
    assert "(64 items) | 65.6 ± 6.0 % | 42.2 ± 6.2 % | 51.6 ± 6.3 % |" in glance


def test_card_says_that_some_gaps_are_open() -> None:
    text = render_card(partly_bridged_run())
    assert "2 of 3 gaps were bridged" in text
    assert "nothing comes before layers 0" in section(text, "Bridge")


def test_card_says_that_a_bridge_was_not_published() -> None:
    run = unpublished_bridge_run()
    text = render_card(run)
    assert "bridged without training" not in text
    assert "published weights do not carry this bridge" in text
    assert "**Cut** (this model)" in text


@pytest.mark.parametrize(
    ("loss_change", "sentence"),
    [(-0.3, "The bridge helped"), (0.3, "did not help"), (0.01, "no measurable difference")],
)
def test_card_judges_the_bridge_by_its_figures(loss_change: float, sentence: str) -> None:
    run = sample_run()
    dense, cut, bridged = run.evaluated.perplexities
    bridged = replace(bridged, loss=cut.loss + loss_change)
    text = render_card(remeasured(run, perplexities=(dense, cut, bridged)))
    assert sentence in section(text, "Evaluation")


def lead(text: str) -> str:
    """The first paragraph, which is what search results and link previews show."""
    return text.split("\n# ")[1].split("\n\n")[1]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            healed_run,
            "1 tensor). The model was healed on 299,008 tokens by LoRA, to match the original's predictions.",
        ),
        (healed_without_bridge_run, ". The model was healed on 900,000 tokens by QLoRA."),
        (
            replaced_run,
            "on 299,008 tokens by training the layers before the gaps, to match the original's states after",
        ),
        (untied_run, "healed on 299,008 tokens by training its last layers"),
    ],
)
def test_the_first_paragraph_says_how_the_model_was_healed(make: MakeRun, sentence: str) -> None:
    assert sentence in lead(render_card(make()))


@pytest.mark.parametrize("make", [sample_run, diverged_run, unkept_run, bare_run])
def test_the_first_paragraph_says_nothing_of_what_was_not_kept(make: MakeRun) -> None:
    assert "heal" not in lead(render_card(make()))


@each_run
def test_card_says_exactly_once_that_no_weight_was_trained_where_none_was(make: MakeRun) -> None:
    run = make()
    limits = section(render_card(run), "Limits")
    cut, trained = bool(run.plan.removed), run.healing.text is not None
    assert ("No weight was trained after the cut" in limits) is (cut and not trained)
    assert ("No published weight was trained" in limits) is (not cut and not run.healing.kept)
    assert (f"{'Healing' if cut else 'Training'} used only `" in limits) is run.healing.kept
    assert ("The training after the cut was discarded" in limits) is (
        cut and trained and not run.healing.kept
    )
    evaluation = section(render_card(run), "Evaluation")
    assert ("It was not healed" in evaluation) is (cut and not run.healing.kept)
    assert ("No weight was trained" in evaluation) is (not cut and not run.healing.kept)
    assert ("calibration or training" in evaluation) is run.healing.kept


def test_card_tells_what_was_trained_and_on_what() -> None:
    text = section(render_card(healed_run()), "Healing")
    for sentence in (
        "trained adapters of rank 64 on every linear projection",
        "14.31M parameters",
        "154 tensors",
        "from 3.765 to 3.346",
        "| Text | `c4_healing` (allenai/c4), 585 x 512 = 299,520 tokens |",
        "| Trained on | 299,008 tokens |",
        "| Set aside | 16 x 512 tokens",
        "| Learning rate | 0.001 |",
        "| Windows per step | 4 |",
        "| Steps | 146, best at 144 |",
        "| Time | 3 min 7 s |",
    ):
        assert sentence in text


def test_card_tells_alpha_where_it_is_not_the_rank() -> None:
    run = healed_run()
    plan = replace(run.healing.plan, rank=8, alpha=16)
    assert "adapters of rank 8, alpha 16, on" in render_card(
        replace(run, healing=replace(run.healing, plan=plan))
    )
    same = replace(run.healing, plan=replace(plan, alpha=8))
    assert "adapters of rank 8 on" in render_card(replace(run, healing=same))


def test_card_says_why_the_text_was_learnt_and_not_the_predictions() -> None:
    text = section(render_card(healed_without_bridge_run()), "Healing")
    assert "| Learned from | The text: the original's predictions would take 9 GB of disk" in text
    assert "| Also learned from | the original's states after each gap, with weight 0.5 |" in text
    assert "beside the model in 4 bits" in text
    assert "the feed-forward projections" in text
    assert "900,000 tokens, some more than once" in text
    assert "only with its weights in 4 bits" in text


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (diverged_run, "the training diverged: its loss was no number after step 7"),
        (unkept_run, "on the watched text it raised the loss from 3.765 to 3.901"),
    ],
)
def test_card_says_that_a_training_was_left_out_and_whose_weights_these_are(make: MakeRun, why: str) -> None:
    text = section(render_card(make()), "Healing")
    assert f"What was trained was left out, and the model is as before; {why}." in text
    assert "**The published weights are from before the training.**" in text
    assert "tensors of the checkpoint" not in text
    assert "then added to the weights" not in text


def test_card_of_a_training_that_was_looked_at_once_has_no_curve() -> None:
    assert picture_paths(unkept_run())["healing"] == HEALING
    assert picture_paths(diverged_run())["healing"] is None


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (None, "Nothing was trained.\n"),
        ("nothing was trained: it would need 90 GB", "Nothing was trained: it would need 90 GB.\n"),
    ],
)
def test_card_says_in_a_line_why_nothing_was_trained(reason: str | None, sentence: str) -> None:
    run = replace(sample_run(), healing=sample_no_healing(reason))
    assert section(render_card(run), "Healing").strip() == sentence.strip()


def test_a_head_that_was_untied_is_described_and_counts_for_the_healed_model_alone() -> None:
    run = untied_run()
    text = render_card(run)
    assert "28.31M parameters, 56.6 MB more" in section(text, "Healing")
    [parameters] = re.findall(r"^\| Parameters \| (.*) \|$", text, re.MULTILINE)
    assert parameters.split(" | ") == ["134.5M", "106.2M", "106.2M", "134.5M"]
    [size] = re.findall(r"^\| Size of the weights \(.*? \| (.*) \|$", text, re.MULTILINE)
    assert size.split(" | ") == ["269 MB", "212 MB", "212 MB", "269 MB"]
    assert "tied" not in section(render_card(healed_run()), "Healing")


@pytest.mark.parametrize(("make", "carried"), [(healed_run, True), (healed_without_bridge_run, False)])
def test_a_healed_model_carries_the_bridge_that_it_was_trained_from(make: MakeRun, carried: bool) -> None:
    text = render_card(make())
    assert ("With a bridge: 14" in text) is carried
    assert ("bridged without training" in lead(text)) is carried
    assert "do not carry this bridge" not in text


@pytest.mark.parametrize(
    ("loss_change", "sentence"),
    [
        (-0.3, "Healing helped"),
        (0.3, "Healing did not help"),
        (0.01, "Healing made no measurable difference"),
    ],
)
def test_card_judges_healing_by_what_it_began_from(loss_change: float, sentence: str) -> None:
    run = healed_run()
    dense, cut, bridged, healed = run.evaluated.perplexities
    healed = replace(healed, loss=bridged.loss + loss_change)
    text = render_card(remeasured(run, perplexities=(dense, cut, bridged, healed)))
    text = section(text, "Evaluation")
    assert sentence in text
    assert "The bridge helped" in text  # judged as before, by the cut


NOTHING_REMOVED = [
    sample_grown_run,
    untrained_growth_run,
    sample_sorted_run,
    slow_sorted_run,
    trained_whole_run,
]


@pytest.mark.parametrize("make", NOTHING_REMOVED)
def test_card_of_a_model_that_lost_no_layer_tells_of_no_cut(make: MakeRun) -> None:
    text = prose(render_card(make(), "someone/name"))
    for phrase in (
        "Removed:",
        "layers removed",
        "What was removed",
        "## Bridge",
        "Healing",
        "was healed",
        "the cut",
        "gromov",
    ):
        assert phrase not in text


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            sample_grown_run,
            ") with 7 new layers among the first 15: 159.3M parameters instead of 134.5M (+18 %).",
        ),
        (sample_grown_run, " Only the new layers were trained, on 299,008 tokens."),
        (untrained_growth_run, " The new layers are not trained yet."),
        (cut_and_grown_run, ") with 8 of its 30 layers removed and 3 new layers among the first 11: "),
        (cut_and_grown_run, "healed on 299,008 tokens by training only the new layers"),
        (
            sample_sorted_run,
            " trained so that its first 12, 16, 20 and 24 layers are models of their own: 134.5M parameters.",
        ),
        (sample_sorted_run, "perplexity on held-out `allenai/c4` text is 18.4 (original: 20.1)."),
        (sample_sorted_run, "For the first 12 layers alone it is 61.2 (original: 8123)."),
        (trained_whole_run, "with all its layers, trained further: 134.5M parameters."),
    ],
)
def test_the_first_paragraph_says_what_was_grown_or_sorted(make: MakeRun, sentence: str) -> None:
    assert sentence in lead(render_card(make()))


@pytest.mark.parametrize(
    ("make", "tags"),
    [
        (sample_grown_run, ["layer-expansion", "hf-prune"]),
        (cut_and_grown_run, ["pruned", "layer-pruning", "depth-pruning", "layer-expansion", "hf-prune"]),
        (sample_sorted_run, ["sorted", "early-exit", "hf-prune"]),
        (trained_whole_run, ["hf-prune"]),
    ],
)
def test_the_hub_finds_a_model_by_what_was_done_to_it(make: MakeRun, tags: list[str]) -> None:
    assert card_metadata(make()).tags == tags


def test_card_tells_where_new_layers_are_and_that_they_were_nothing_at_first() -> None:
    text = section(render_card(sample_grown_run()), "New layers")
    assert "this model numbers its layers from 0: **2, 5, 8, 11, 14, 17, 20**" in text
    assert "as the original numbers them: 1, 3, 5, 7, 9, 11, 13\n" in text
    assert "`model.layers.0.self_attn.o_proj.weight` and `model.layers.0.mlp.down_proj.weight`" in text
    assert "had the logits of the original. This was compared after reloading from disk. Largest diff" in text
    assert "**They were not trained**" not in text
    assert "**They were not trained**" in section(render_card(untrained_growth_run()), "New layers")


def test_new_layers_of_a_shorter_model_are_placed_in_the_original() -> None:
    run = cut_and_grown_run()  # 15-22 removed
    behind = replace(run.growth, after=(1, 15), layers=(2, 17), shallow=replace(run.growth.shallow, end=17))
    text = render_card(replace(run, growth=behind))
    assert "as the original numbers them: 1, 23\n" in section(text, "New layers")
    assert "Among the shallow layers (0-24)" in text
    assert "A new layer follows each of: 1, 23](plots/layer_map.png)" in text


def test_what_was_grown_later_does_not_count_for_the_cut() -> None:
    run = cut_and_grown_run()
    [layers] = re.findall(r"^\| Layers \| (.*) \|$", render_card(run), re.MULTILINE)
    assert layers.split(" | ") == ["30", "22", "22", "25"]
    assert run.anatomy_of("cut") == sample_anatomy(22)
    assert run.anatomy_of("grown") == run.result_anatomy


def test_a_head_that_was_untied_in_a_grown_model_is_counted_once() -> None:
    run = cut_and_grown_run()
    anatomy = with_head_of_its_own(run.result_anatomy)
    untied = replace(run, result_anatomy=anatomy, result=sample_checkpoint("healed", anatomy))
    assert untied.anatomy_of("bridged") == sample_anatomy(22)
    assert untied.anatomy_of("grown") == sample_anatomy(25)
    assert "28.31M parameters, 56.6 MB more" in section(render_card(untied), "Healing")


def test_card_says_how_to_take_one_depth() -> None:
    text = section(render_card(sample_sorted_run(), "someone/name"), "Depths")
    assert "hf-prune extract someone/name --layers 24" in text
    assert (
        "| [16](https://huggingface.co/someone/name/tree/depth-16) | 84.95M | 170 MB | 2988 ± 120 |" in text
    )
    assert 'from_pretrained("someone/name", revision="depth-24")' in text
    assert "assistant_early_exit=12" in text
    assert "depth-30" not in text  # the whole model is on the main branch


def test_the_card_of_a_depth_gives_the_hub_its_own_perplexity() -> None:
    run = sample_sorted_run()
    [result] = ModelCard(render_depth_card(run, 16, "someone/name")).data.eval_results or []
    assert result.metric_value == run.evaluated.depths[1].perplexity.perplexity
    assert "model-index" not in ModelCard(render_depth_card(run, 17)).data.to_dict()


def test_card_names_no_branch_before_a_repository_is_known() -> None:
    text = section(render_card(sample_sorted_run()), "Depths")
    assert "hf-prune extract ./SmolLM2-135M-sorted --layers 24" in text
    assert "| 16 | 84.95M |" in text
    assert "depth-" not in text


@pytest.mark.parametrize("make", [sample_sorted_run, slow_sorted_run])
def test_the_whole_model_is_the_last_depth_and_there_once(make: MakeRun) -> None:
    [rows] = tables(section(render_card(make()), "Depths"))
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 12", "| 16", "| 20", "| 24", "| 30"]
    assert "| 20.12 ± 0.45 | 18.41 ± 0.40 |" in rows[-1]


def test_depths_without_a_speed_have_no_columns_for_it() -> None:
    text = section(render_card(slow_sorted_run()), "Depths")
    assert "tokens/s" not in text
    assert "memory" not in text


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (sample_grown_run, "Only the new layers were trained, in full ("),
        (sample_sorted_run, "trained on the mean of the losses of the first 12, 16, 20, 24 and 30 layers."),
        (sample_sorted_run, "from 3.021 to 2.910 nats per token, the mean over all depths."),
        (slow_sorted_run, "trained on one depth per step, drawn at random from the first 12, 16, 20, 24"),
    ],
)
def test_card_says_how_what_was_grown_or_sorted_was_trained(make: MakeRun, sentence: str) -> None:
    assert sentence in section(render_card(make()), "Training")


@pytest.mark.parametrize(
    ("make", "cited"),
    [
        (sample_run, ["gromov2024unreasonable", "men2024shortgpt", "shopkhoev2025replaceme"]),
        (
            cut_and_grown_run,
            ["gromov2024unreasonable", "men2024shortgpt", "shopkhoev2025replaceme", "chen2024slayer"],
        ),
        (sample_grown_run, ["chen2024slayer"]),
        (sample_sorted_run, ["kavehzadeh2023sorted"]),
        (trained_whole_run, []),
    ],
)
def test_card_cites_what_was_used(make: MakeRun, cited: list[str]) -> None:
    text = render_card(make())
    assert re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE) == cited
    assert ("## Citation" in text) is bool(cited)


def test_metadata_names_the_data_sets_that_the_weights_have_seen() -> None:
    run = healed_run()
    assert card_metadata(run).datasets == ["allenai/c4"]
    text = replace(run.healing.text, dataset="acme/stories")
    kept = replace(run, healing=replace(run.healing, text=text))
    assert card_metadata(kept).datasets == ["acme/stories", "allenai/c4"]
    left_out = replace(kept, healing=replace(kept.healing, kept=False))
    assert card_metadata(left_out).datasets == ["allenai/c4"]
    own = replace(run.similarity.calibration, dataset=None)
    unknown = replace(sample_run(), similarity=replace(run.similarity, calibration=own))
    assert "datasets" not in ModelCard(render_card(unknown)).data.to_dict()


def test_template_refuses_a_name_it_was_not_given() -> None:
    context = card.card_context(sample_run(), None)
    del context["perplexity_ratio"]
    template = card_environment().get_template("model_card.md.j2")
    with pytest.raises(UndefinedError, match="perplexity_ratio"):
        template.render(context)


def test_template_refuses_a_value_that_is_none() -> None:
    with pytest.raises(ValueError, match="does not have"):
        card_environment().from_string("{{ run.source.repo_id }}").render(run=bare_run())


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.change(106.2, 134.5), "-21 %"),
        (figures.change(70.1, 70.6), "-0.7 %"),
        (figures.code("a`b"), "``a`b``"),
        (figures.code("`a"), "`` `a ``"),
        (figures.cell("a|b\n c"), "a\\|b c"),
        (figures.grouped(299_520), "299,520"),
        (figures.sentence("the loss of GPT"), "The loss of GPT"),
    ],
)
def test_figures_are_printed_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("perplexity", "loss_stderr", "expected"),
    [
        (20.1234, 0.0223, "20.12 ± 0.45"),
        (2288.4, 0.09, "2288 ± 206"),
        (43.18, 0.0, "43.2"),
        (4.2e7, 0.1, "4.2e+07 ± 4.2e+06"),
    ],
)
def test_perplexity_is_printed_as_exactly_as_it_is_known(
    perplexity: float, loss_stderr: float, expected: str
) -> None:
    measured = replace(sample_run().evaluated.perplexities[0], perplexity=perplexity, loss_stderr=loss_stderr)
    assert figures.with_error(measured) == expected
