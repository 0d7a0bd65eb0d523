import json
import re
import shutil
import zipfile

import numpy as np
import onnxruntime
import pytest
import yaml
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import EngineError, ModelError
from deep_tracking_ros.models.exchange import import_model
from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.registry import make_tracker


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


def truncate_golden(folder):
    data = (folder / "golden.npz").read_bytes()
    (folder / "golden.npz").write_bytes(data[: len(data) // 2])


def flip_golden(folder):
    """Other bytes in the middle of the largest array: the file's own checksum is then wrong."""
    data = bytearray((folder / "golden.npz").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    (folder / "golden.npz").write_bytes(data)


def retype_golden(folder):
    with np.load(folder / "golden.npz") as file:
        arrays = dict(file)
    arrays["siamfc/search.presence"] = arrays["siamfc/search.presence"].astype(str)
    np.savez_compressed(folder / "golden.npz", **arrays)


def rename_golden(folder):
    with np.load(folder / "golden.npz") as file:
        arrays = {key.replace("presence", "absence"): array for key, array in file.items()}
    np.savez_compressed(folder / "golden.npz", **arrays)


BROKEN_GOLDEN = [
    (truncate_golden, r"cannot read .*golden\.npz"),
    (flip_golden, r"cannot read .*golden\.npz"),
    (retype_golden, r"holds siamfc/search\.presence as <U\d+ .*make it again"),
    (rename_golden, r"lacks siamfc/search\.presence: make it again"),
]


@pytest.mark.parametrize(("spoil", "words"), BROKEN_GOLDEN)
def test_a_damaged_golden_sample_is_refused_and_the_doctor_lives_on(copy, models, spoil, words):
    from deep_tracking_ros.ros.installation import installation

    spoil(copy)
    with pytest.raises(ModelError, match=words):
        make_tracker(str(copy), "torch")
    with pytest.raises(ModelError, match=words):
        raise run("import", copy, "--into", models).exception
    findings = [finding for finding in installation(str(copy)) if finding.subject == "backend torch"]
    assert len(findings) == 1
    assert re.search(words, findings[0].text)


def test_a_tracker_is_made_of_networks_that_give_the_golden_output(siamfc, copy):
    log = []
    make_tracker("siamfc", "torch", log=log.append)
    assert [re.sub(r"\d\.\de[+-]\d\d", "X", line) for line in log] == [
        f"network siamfc/{part}: torch fp32 on cpu; as asked for; off by X on its sample"
        for part in ("exemplar", "search")
    ]
    spoil_weights(copy)
    with pytest.raises(EngineError, match=r"'siamfc/exemplar' on torch in fp32 is off by \d.*install the model again"):
        make_tracker(str(copy), "torch")
    with pytest.raises(EngineError, match=r"no onnxruntime: .* is off by \d.*no torch: .* is off by \d"):
        make_tracker(str(copy))
    (copy / "golden.npz").unlink()
    make_tracker(str(copy), "torch", log=log.append)
    assert log[2] == "model siamfc has no golden.npz: whether its networks give the right numbers is not known"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": 5}, "name of the model card .*card.yaml is 5, it must be a text"),
        ({"tracking": 5}, "tracking of the model card .*card.yaml is 5, it must be a mapping"),
        ({"tracking": {1: 2}}, "tracking of .* must be a mapping of names"),
        ({"parameters": [1]}, r"parameters of .* is \[1\]"),
        ({"results": None}, "results of .* is None"),
        ({"thresholds": {"tracked": "high", "lost": 0.2}}, "thresholds of .* has tracked: 'high', .*from 0 to 1"),
        ({"thresholds": {"tracked": 0.5, "lost": -0.1}}, "has lost: -0.1"),
        ({"thresholds": {"tracked": float("nan"), "lost": 0.1}}, "has tracked: nan"),
        ({"thresholds": {"tracked": True, "lost": 0.1}}, "has tracked: True"),
        ({"calibration": {"raw": [0, "a"], "probability": [0, 1]}}, r"calibration of .* has raw: \[0, 'a'\]"),
        ({"calibration": {"raw": 3, "probability": [0, 1]}}, "has raw: 3, it must be a list"),
        ({"calibration": {"raw": [0, float("inf")], "probability": [0, 1]}}, r"has raw: \[0, inf\]"),
    ],
)
def test_a_card_says_which_key_is_wrong(copy, changes, words):
    change_card(copy, **changes)
    with pytest.raises(ModelError, match=words):
        find_model(str(copy))


def test_broken_archives(copy, models, tmp_path):
    archive = zipped(copy, tmp_path / "model.zip")
    whole = archive.read_bytes()
    card = whole.index(b"architecture")
    directory = whole.index(b"PK\x01\x02")
    for number, broken in enumerate(
        (
            whole[:card] + b"XXXX" + whole[card + 4 :],  # a checksum that is wrong
            whole[:directory] + b"XXXX" + whole[directory + 4 :],  # no directory where its end says it is
            whole[: directory + 10] + b"\xff\xff" + whole[directory + 12 :],  # a compression that nobody knows
            whole[len(whole) // 3 :],  # the beginning is missing
        )
    ):
        archive.write_bytes(broken)
        with pytest.raises(ModelError, match=r"cannot (unpack|import) .*model\.zip"):
            import_model(archive, lambda model: None, models)
        assert list(models.iterdir()) == [], number
