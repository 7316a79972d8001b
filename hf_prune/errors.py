"""Everything that can go wrong, for the user.

    HfPruneError                 exit 1
      RecipeError                exit 2   the request itself cannot be met; the message says what would work
      GateRefused                exit 3   the result misses a limit: it is kept, not published
      OutputOccupied             exit 2   the output folder holds something other than this run
      UnusableTemplate           exit 2   the user's template or notes for the card have a fault
      SourceError                         the model cannot be fetched
        ModelNotFound                     there is no such repository, revision, folder or file
        AccessDenied                      the model is gated or private, or the token may not do this
        HubUnreachable                    no network, offline mode, or the Hub does not answer
        NoSafetensors                     no weights, or only pickles, which the user did not allow
        CollectionNotFound                there is no such collection for the result
      UnsupportedModel                    the structure or format of the model cannot be cut yet
      UnusableText                        a text to calibrate, heal or evaluate on is too short or unreadable
      UnusableImages                      images for calibration or evaluation are missing or unreadable
      OverlappingData                     fitting and evaluation share documents, questions or images
      UnusableTask                        the settings or items of a task are missing, or it cannot run here
      ProofFailed                         the checkpoint on disk is not the planned model
      DiskFull                            there is too little room, before or during the work
      UnusableCache                       the folder of the Hub's cache cannot be written
      MissingPackage                      the package for a requested format is not installed
      UnreadableRecord                    there is no finished run, or its record cannot be read
      PublishRefused                      hf-prune did not make the files that a push would overwrite
      JobFailed                           a job of Hugging Face Jobs ended without a result
      JobGoesOn                  exit 130 the user stopped watching a job, which goes on
      AlreadyScheduled                    another schedule publishes to that repository
      RepositoryChanged                   somebody else committed during the upload
      UploadDiffers                       the Hub does not have what was sent
      BrokenSection                       a user's own section of a card has no beginning or no end
      QuotaExceeded                       the Hub has no room left for this account
      LicenceForbids                      the original's licence forbids to publish the result, or its name
      NothingGained                       no layers were to be removed, and training improved nothing

A message says what is wrong, which value, and what to do next. The library raises. Only the command line
turns an error into one line and an exit code.
"""


class HfPruneError(Exception):
    """An error for the user, whose message is one line."""

    exit_code = 1


class RecipeError(HfPruneError):
    """The request itself cannot be met."""

    exit_code = 2


class GateRefused(HfPruneError):
    """The result is worse than the user allows. It is kept, but not published."""

    exit_code = 3


class OutputOccupied(HfPruneError):
    """The output folder holds something other than this run."""

    exit_code = 2


class UnusableTemplate(HfPruneError):
    """The user's template or notes for the card cannot be read or rendered."""

    exit_code = 2


class SourceError(HfPruneError):
    """The model cannot be fetched."""


class ModelNotFound(SourceError):
    """There is no such repository, revision, folder or file."""


class AccessDenied(SourceError):
    """The repository is gated or private, or the token lacks a right."""


class HubUnreachable(SourceError):
    """The Hub does not answer."""


class NoSafetensors(SourceError):
    """The repository has no weights in safetensors form."""


class CollectionNotFound(SourceError):
    """There is no such collection."""


class UnsupportedModel(HfPruneError):
    """The model's structure or format cannot be cut yet."""


class UnusableText(HfPruneError):
    """A text for calibration, healing or evaluation is too short or unreadable."""


class UnusableImages(HfPruneError):
    """Images for calibration or evaluation are missing or unreadable."""


class OverlappingData(HfPruneError):
    """Fitting and evaluation share documents, questions or images."""


class UnusableTask(HfPruneError):
    """The settings or items of a task of lm-evaluation-harness are missing, or it cannot run here."""


class ProofFailed(HfPruneError):
    """The checkpoint on disk does not compute what the planned model computes."""


class DiskFull(HfPruneError):
    """There is too little room on the disk."""


class UnusableCache(HfPruneError):
    """The Hub's cache cannot be written."""


class MissingPackage(HfPruneError):
    """The request needs a package that the base install does not include."""


class UnreadableRecord(HfPruneError):
    """There is no finished run, or its record is from another version."""


class PublishRefused(HfPruneError):
    """hf-prune did not make the files that publishing would overwrite, or the Hub refuses the card."""


class RepositoryChanged(HfPruneError):
    """Somebody else committed to the repository during the upload."""


class UploadDiffers(HfPruneError):
    """The Hub does not have what was sent."""


class BrokenSection(HfPruneError):
    """The marks around a user's own section of a card are not in pairs, so its text could be lost."""


class JobFailed(HfPruneError):
    """A job of Hugging Face Jobs ended without a result."""


class JobGoesOn(HfPruneError):
    """The user stopped watching a job, which goes on."""

    exit_code = 130


class AlreadyScheduled(HfPruneError):
    """Another schedule publishes to the same repository."""


class QuotaExceeded(HfPruneError):
    """The Hub has no room left for this account."""


class LicenceForbids(HfPruneError):
    """The licence of the original forbids to publish the result, or to publish it under this name."""


class NothingGained(HfPruneError):
    """No layers were to be removed, and training improved nothing."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's name if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
