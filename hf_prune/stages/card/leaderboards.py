"""Which data sets of the Hub the tasks of lm-evaluation-harness ask their questions from.

Taken from the task files of lm-evaluation-harness 0.4.13. A task that is not here is on the card and in the
record, but the Hub is not told of it: a data set's name that is not certain is worse than none.
"""

from dataclasses import dataclass

from hf_prune.records import TaskScore


@dataclass(frozen=True, slots=True)
class Questions:
    """A data set of the Hub, and the part of it that a task asks."""

    dataset: str
    config: str | None
    split: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A leaderboard of the Hub, which a file in `.eval_results/` puts a model on."""

    dataset: str  # has the tag "benchmark" and an eval.yaml
    task: str  # of its leaderboard
    metric: str  # of the harness, that it ranks by
    answer_filter: str
    num_items: int  # of the whole task: less is no result of it


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
    """The leaderboard that a figure belongs on: that of a whole task, by the metric that it ranks by."""
    found = BENCHMARKS.get(score.task)
    if found is None or score.num_items != found.num_items:
        return None
    same = (score.metric, score.answer_filter) == (found.metric, found.answer_filter)
    return found if same else None
