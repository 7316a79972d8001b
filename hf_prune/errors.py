"""Everything that can go wrong, for the user.

    HfPruneError                 exit 1
      RecipeError                exit 2   the request itself cannot be met: say what would work
      GateRefused                exit 3   the result is worse than asked for: it is kept, not published
      OutputOccupied             exit 2   the output folder holds something that is not this run
      UnusableTemplate           exit 2   the user's template or notes for the card have a fault
      SourceError                         the model cannot be had
        ModelNotFound                     no such repository, revision, folder or file
        AccessDenied                      gated, private, or the token may not do this
        HubUnreachable                    no network, offline mode, or the Hub does not answer
        NoSafetensors                     only pickled weights, and no leave to read them; or none
        CollectionNotFound                no collection of that name to put the result into
      UnsupportedModel                    its structure or format is not one that can be cut yet
      UnusableText                        a text for calibration, healing or evaluation is too short
      UnusableImages                      the same of images
      OverlappingData                     what is fitted to and what is measured on share documents
      UnusableTask                        a task's settings or items cannot be had, or it cannot be run here
      ProofFailed                         the checkpoint on disk is not the model that was planned
      DiskFull                            there is no room, or there was none halfway
      UnusableCache                       the folder of the Hub's cache cannot be written
      MissingPackage                      what writes a form that was asked for is not installed
      UnreadableRecord                    no finished run, or its record is none that can be read
      PublishRefused                      pushing would overwrite what hf-prune did not make
      JobFailed                           a job of Hugging Face Jobs ended without a result
      JobGoesOn                  exit 130 the user stopped watching a job, which goes on
      AlreadyScheduled                    a schedule publishes to that repository already
      RepositoryChanged                   somebody else committed while this was being pushed
      UploadDiffers                       the Hub does not hold what was sent
      BrokenSection                       a user's own section of a card has no end, or no beginning
      QuotaExceeded                       the Hub has no room for more of this account
      LicenceForbids                      the original's licence does not let the result be published so
      NothingGained                       nothing was to be removed, and training made nothing better

A message says what happened, which value, and what to do next. The library raises; `cli.main` alone
turns an error into one line and an exit code.
"""


class HfPruneError(Exception):
    """What the user is told, in one line."""

    exit_code = 1


class RecipeError(HfPruneError):
    """The request cannot be met as it was made."""

    exit_code = 2


class GateRefused(HfPruneError):
    """The result is worse than the user allows: it is kept, and not published."""

    exit_code = 3


class OutputOccupied(HfPruneError):
    """The output folder holds something that is not this run."""

    exit_code = 2


class UnusableTemplate(HfPruneError):
    """What the user wants on the card cannot be read or rendered."""

    exit_code = 2


class SourceError(HfPruneError):
    """The model cannot be had."""


class ModelNotFound(SourceError):
    """No such repository, revision, folder or file."""


class AccessDenied(SourceError):
    """The repository is gated or private, or the token lacks a right."""


class HubUnreachable(SourceError):
    """The Hub does not answer."""


class NoSafetensors(SourceError):
    """The repository has no weights in safetensors form."""


class CollectionNotFound(SourceError):
    """No such collection."""


class UnsupportedModel(HfPruneError):
    """The model's structure or format cannot be cut yet."""


class UnusableText(HfPruneError):
    """A text for calibration, healing or evaluation is too short or unreadable."""


class UnusableImages(HfPruneError):
    """Images for calibration or evaluation are missing or unreadable."""


class OverlappingData(HfPruneError):
    """What a model is fitted to and what it is measured on have documents, questions or images in common."""


class UnusableTask(HfPruneError):
    """A task of lm-evaluation-harness whose settings or items cannot be had, or that cannot be run here."""


class ProofFailed(HfPruneError):
    """The checkpoint on disk does not compute what the plan says it computes."""


class DiskFull(HfPruneError):
    """There is not enough room on the disk."""


class UnusableCache(HfPruneError):
    """The Hub's cache cannot be written."""


class MissingPackage(HfPruneError):
    """A package that is not in the base install is needed for what was asked for."""


class UnreadableRecord(HfPruneError):
    """There is no finished run, or its record is that of another version."""


class PublishRefused(HfPruneError):
    """Publishing would overwrite something that hf-prune did not make, or the Hub does not take it."""


class RepositoryChanged(HfPruneError):
    """A repository got another commit while this one was on its way."""


class UploadDiffers(HfPruneError):
    """What the Hub holds after a commit is not what was sent."""


class BrokenSection(HfPruneError):
    """The marks around a user's own section of a card do not come in pairs, so its text could be lost."""


class JobFailed(HfPruneError):
    """A job on the Hub's machines ended without a result."""


class JobGoesOn(HfPruneError):
    """The user no longer watches a job, which goes on."""

    exit_code = 130


class AlreadyScheduled(HfPruneError):
    """Another schedule would publish to the same repository."""


class QuotaExceeded(HfPruneError):
    """The Hub has no room for more of this account."""


class LicenceForbids(HfPruneError):
    """The licence of the original does not let the result be published, or not under this name."""


def first_line(error: BaseException) -> str:
    """What a library's error says in its first line, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class NothingGained(HfPruneError):
    """Nothing was to be removed, and what was trained was no better: there is nothing to keep."""
