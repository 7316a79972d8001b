"""What an earlier version had in other forms does not stay on the Hub beside new weights."""

from hf_prune import hub


def folder_of(place, names):
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(f"{place.name} {name}".encode())
    return place


def test_forms_that_a_version_lacks_are_removed_with_it(home_hub, tmp_path):
    forms = ("onnx/model.onnx", "onnx/model.onnx_data", "model.gguf")
    kept = ("config.json", "model.safetensors")
    hub.upload("tester/small", folder_of(tmp_path / "first", (*kept, *forms)), "first", private=True)
    assert set(forms) <= set(home_hub.files("tester/small"))
    hub.upload("tester/small", folder_of(tmp_path / "second", (*kept, forms[2])), "second", private=True)
    files = home_hub.files("tester/small")
    assert {*kept, forms[2]} <= set(files)
    assert not set(forms[:2]) & set(files)
