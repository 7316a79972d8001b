"""The data sets and leaderboards of the Hub for the tasks of lm-evaluation-harness.

They come from the task files of lm-evaluation-harness 0.4.13. The metadata leave out every other task,
because an uncertain name of a data set is worse than none. The card and the record have them all.
"""

from dataclasses import dataclass

from hf_prune.records import TaskScore


@dataclass(frozen=True, slots=True)
class Questions:
    """A data set of the Hub, and the part of it that a task asks about."""

    dataset: str
    config: str | None
    split: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A leaderboard of the Hub. A file in `.eval_results/` puts a model on it."""

    dataset: str  # has the tag "benchmark" and an eval.yaml
    task: str  # of its leaderboard
    metric: str  # that it ranks by, as the harness names it
    answer_filter: str
    num_items: int  # of the whole task; a figure of fewer items does not count


QUESTIONS = {
    "arc_challenge": Questions("allenai/ai2_arc", "ARC-Challenge", "test"),
    "arc_easy": Questions("allenai/ai2_arc", "ARC-Easy", "test"),
    "boolq": Questions("aps/super_glue", "boolq", "validation"),
    "commonsense_qa": Questions("tau/commonsense_qa", None, "validation"),
    "copa": Questions("aps/super_glue", "copa", "validation"),
    "gpqa_diamond_cot_zeroshot": Questions("Idavidrein/gpqa", "gpqa_diamond", "train"),
    "gpqa_diamond_zeroshot": Questions("Idavidrein/gpqa", "gpqa_diamond", "train"),
    "gsm8k": Questions("openai/gsm8k", "main", "test"),
    "hellaswag": Questions("Rowan/hellaswag", None, "validation"),
    "ifeval": Questions("google/IFEval", None, "train"),
    "lambada_openai": Questions("EleutherAI/lambada_openai", "default", "test"),
    "mmlu": Questions("cais/mmlu", "all", "test"),
    "mmlu_pro": Questions("TIGER-Lab/MMLU-Pro", None, "test"),
    "nq_open": Questions("google-research-datasets/nq_open", None, "validation"),
    "openbookqa": Questions("allenai/openbookqa", "main", "test"),
    "piqa": Questions("baber/piqa", None, "validation"),
    "race": Questions("EleutherAI/race", "high", "test"),
    "sciq": Questions("allenai/sciq", None, "test"),
    "triviaqa": Questions("mandarjoshi/trivia_qa", "rc.nocontext", "validation"),
    "truthfulqa_mc1": Questions("truthfulqa/truthful_qa", "multiple_choice", "validation"),
    "truthfulqa_mc2": Questions("truthfulqa/truthful_qa", "multiple_choice", "validation"),
    "wikitext": Questions("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1", "test"),
    "winogrande": Questions("allenai/winogrande", "winogrande_xl", "validation"),
}
BENCHMARKS = {
    "gpqa_diamond_cot_zeroshot": Benchmark(
        "Idavidrein/gpqa", "diamond", "exact_match", "flexible-extract", 198
    ),
    "gsm8k": Benchmark("openai/gsm8k", "gsm8k", "exact_match", "strict-match", 1319),
    "mmlu_pro": Benchmark("TIGER-Lab/MMLU-Pro", "mmlu_pro", "exact_match", "custom-extract", 12032),
}


def leaderboard_of(score: TaskScore) -> Benchmark | None:
    """The leaderboard of a figure. None: it has none, or ranks by another metric or by the whole task."""
    board = BENCHMARKS.get(score.task)
    figure = (score.metric, score.answer_filter, score.num_items)
    return board if board and figure == (board.metric, board.answer_filter, board.num_items) else None
