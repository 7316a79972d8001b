"""The notice that a licence wants beside the weights."""

from pathlib import Path

from hf_prune.machine.disk import write_whole
from hf_prune.records import Source
from hf_prune.stages.source.licence import notice_file, terms_of


def write_notice(source: Source, folder: Path) -> None:
    """Put into a folder the line that the original's licence wants in its "Notice" file, if it is not there.

    Args:
        source: the original.
        folder: with what was copied from it; a notice that is there is kept, and the line put below.
    """
    terms = terms_of(source.license, source.license_name)
    name = notice_file(terms, source.legal_files)
    if terms.notice is None or name is None:
        return
    there = (folder / name).read_bytes() if (folder / name).is_file() else b""
    if " ".join(terms.notice.split()) in " ".join(there.decode(errors="replace").split()):
        return
    changed = "The files of this model differ from those of the original: README.md says how.\n"
    write_whole(folder / name, b"\n".join(filter(None, (there, f"{terms.notice}\n\n{changed}".encode()))))
