import json
import shutil
import zipfile

import numpy as np
import onnxruntime
import pytest
import yaml
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.models.exchange import import_model
from deep_tracking_ros.models.store import find_model


@pytest.fixture(scope="module")
def siamfc():
    return find_model("siamfc")


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def copy(siamfc, tmp_path):
    """A copy of the model, to be spoilt."""
    return shutil.copytree(siamfc.folder, tmp_path / "copy")


def run(*arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def change_card(folder, **changes):
    card = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, **changes}))


def zipped(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, prefix + file.name)
    return path


def test_list_and_show(siamfc):
    assert "siamfc" in run("list").output
    shown = run("show", "siamfc").output
    assert siamfc.digest in shown
    assert yaml.safe_load(shown)["architecture"] == "siamfc"
    assert "siamfc" in str(run("show", "siamfcc").exception)


def test_a_folder_comes_in_under_its_name(copy, models):
    change_card(copy, name="mine")
    (copy / "notes.txt").write_text("stays behind")
    result = run("import", copy, "--into", models)
    assert result.exit_code == 0, result.exception
    assert [p.name for p in models.iterdir()] == ["mine"]
    assert {p.name for p in (models / "mine").iterdir()} == {"card.yaml", "model.safetensors", "golden.npz"}


def test_a_zip_without_golden_sample_gets_one(copy, models, tmp_path):
    (copy / "golden.npz").unlink()
    archive = zipped(copy, tmp_path / "model.zip", "some/where/")
    result = run("import", archive, "--into", models)
    assert result.exit_code == 0, result.exception
    assert (models / "siamfc" / "golden.npz").stat().st_size > 10000


def test_a_name_is_given_once(copy, models):
    run("import", copy, "--into", models)
    again = run("import", copy, "--into", models)
    assert "--replace" in str(again.exception)
    change_card(copy, description="the second one")
    assert run("import", copy, "--into", models, "--replace").exit_code == 0
    assert "the second one" in (models / "siamfc" / "card.yaml").read_text()
    assert [p.name for p in models.iterdir()] == ["siamfc"]


def spoil_weights(folder):
    from safetensors.numpy import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state["embedding.project.weight"] = -state["embedding.project.weight"]
    save_file(state, folder / "model.safetensors")


def drop_key(folder):
    from safetensors.numpy import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["attention.bias"]
    save_file(state, folder / "model.safetensors")


def cut_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1000])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_weights, "differs from its golden sample"),
        (drop_key, r"attention\.bias is missing"),
        (cut_weights, "cannot read the weights"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no model\.safetensors"),
        (lambda folder: (folder / "golden.npz").write_bytes(b"?"), r"golden\.npz"),
        (lambda folder: change_card(folder, architecture="siamxyz"), "siamfc"),
        (lambda folder: change_card(folder, task="flow"), "flow"),
        (lambda folder: change_card(folder, name="../out"), "name"),
        (lambda folder: change_card(folder, surprise=1), "surprise"),
        (lambda folder: (folder / "card.yaml").write_text("{"), "card"),
    ],
)
def test_models_that_are_refused_leave_nothing_behind(copy, models, spoil, words):
    spoil(copy)
    result = run("import", copy, "--into", models)
    assert isinstance(result.exception, ModelError)
    with pytest.raises(ModelError, match=words):
        raise result.exception
    assert list(models.iterdir()) == []


def test_sources_that_are_no_model(models, tmp_path):
    (tmp_path / "text").write_text("hello")
    for source, words in ((tmp_path / "text", "neither"), (tmp_path / "nothing", "neither"), (models, "no card")):
        with pytest.raises(ModelError, match=words):
            import_model(source, lambda model: None, models)
    with pytest.raises(ModelError, match="no folder"):
        import_model(models, lambda model: None, tmp_path / "nowhere")


def test_archives_do_not_write_where_they_like(copy, models, tmp_path):
    """Names in the archive choose no path; two models in one archive are refused."""
    archive = zipped(copy, tmp_path / "evil.zip", "../../../")
    import_model(archive, lambda model: None, models)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "evil.zip", "models"]
    with zipfile.ZipFile(archive, "a") as file:
        file.write(copy / "card.yaml", "other/card.yaml")
    with pytest.raises(ModelError, match="2 files"):
        import_model(archive, lambda model: None, models, replace=True)


def test_export_writes_networks_that_run_elsewhere(siamfc, tmp_path):
    result = run("export", "siamfc", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    described = json.loads((tmp_path / "out" / "tensors.json").read_text())
    assert described["digest"] == siamfc.digest
    golden = siamfc.golden()
    exemplar, search = described["networks"]
    session = onnxruntime.InferenceSession(tmp_path / "out" / exemplar["file"], providers=["CPUExecutionProvider"])
    inputs = {t["name"]: golden[f"siamfc/exemplar.{t['name']}"] for t in exemplar["inputs"]}
    (kernels,) = session.run([t["name"] for t in exemplar["outputs"]], inputs)
    np.testing.assert_allclose(kernels, golden["siamfc/exemplar.kernels"], atol=1e-4)
    assert [t["name"] for t in search["inputs"]] == ["crops", "kernels"]
    assert search["inputs"][0]["minimum"][0] == 1 < search["inputs"][0]["maximum"][0]
