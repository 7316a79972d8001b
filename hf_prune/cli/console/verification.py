"""What `hf-prune verify` found for each claim."""

from dataclasses import asdict

from rich.markup import escape

from hf_prune.cli.console.terminal import print_result, print_table, tell
from hf_prune.commands.verify.claims import Claim, Verification, shown

WIDEST_CELL = 36  # characters; --json has all


def show_verification(verification: Verification, *, as_json: bool) -> None:
    """Show what was found for every claim: one JSON object, or a table and whether all hold."""
    if not as_json:
        columns = ("claim", "claimed", "found", "tolerance", "holds")
        rows = (map(escape, _claim_row(claim)) for claim in verification.claims)
        title = f"{verification.name}: what is claimed, and what was found"
        print_table(title, columns, rows, left=len(columns), overflow="fold")
        for claim in verification.unchecked:
            tell(f"not checked: {claim.name}: {claim.detail}")
        for claim in verification.failed[1:]:
            tell(f"does not hold: {claim}")
        tell(verification.verdict)
    content = asdict(verification) | {"holds": not verification.failed}
    print_result(content, "does not hold" if verification.failed else "holds", as_json=as_json)


def _claim_row(claim: Claim) -> tuple[str, str, str, str, str]:
    verdict = {True: "yes", False: "NO", None: "not checked"}[claim.holds]
    found = "" if claim.measured is None else _cell(shown(claim.measured))
    tolerance = "" if claim.holds is None else claim.tolerance or "exact"
    return claim.name, _cell(shown(claim.claimed)), found, tolerance, verdict


def _cell(text: str) -> str:
    return text if len(text) <= WIDEST_CELL else f"{text[: WIDEST_CELL - 1]}…"
