"""What docs/publishing.md shows is what happens."""

import re
import shlex
from pathlib import Path

from hf_prune.stages.publish.own_sections import own_sections
from tests.loopback import LoopbackHub
from tests.support.checkout import ROOT
from tests.support.published_runs import make_folder
from tests.support.tool import hf_prune

TEXT = (ROOT / "docs" / "publishing.md").read_text()


def test_the_commands_that_are_shown_publish_a_run(home_hub: LoopbackHub, tmp_path: Path) -> None:
    home_hub.collections["acme/small-models-64f9a55bb3115b4f513ec026"] = []
    folder = make_folder(tmp_path / "run")
    shown = re.findall(r"^hf-prune push \./\S+.*$", TEXT.split("```bash\n")[1].split("```")[0], re.MULTILINE)
    assert len(shown) == 4
    for line in shown:
        words = shlex.split(line, comments=True)
        outcome = hf_prune("push", str(folder), *words[3:])
        assert outcome.code == 0, outcome.err
    assert not home_hub.repositories["model", "acme/small"].private
    own = home_hub.repositories["model", "tester/smollm2-135m-22l"]
    assert own.private
    assert "README.md" in own.find("next").files
    assert home_hub.collections["acme/small-models-64f9a55bb3115b4f513ec026"]


def test_the_section_that_is_shown_is_one() -> None:
    shown = TEXT.split("<!-- section -->\n```markdown\n")[1].split("```\n<!-- /section -->")[0]
    (section,) = own_sections(shown, "shown")
    assert section.lines[1:-1] == ("Any Markdown.",)
