"""The command `pyro-exact export`, and commands on exported files and on models by name."""

import json
from pathlib import Path


def test_export_writes_a_file_that_commands_take(run, trained):
    assert run("evaluate", trained)[0] == 0
    code, out, err = run("export", trained, "--out", "toy.safetensors")
    assert (code, err) == (0, "")
    assert "toy.safetensors" in out

    assert run("sample", "toy.safetensors", "--n", "2")[0] == 0
    assert run("evaluate", "toy.safetensors", "--data", "toy.npz")[0] == 0
    records = [
        json.loads(Path(name).read_text()) for name in ("out/best-test.json", "toy-test-toy.json")
    ]
    assert records[0]["metric"] == records[1]["metric"]


def test_export_needs_the_record_of_the_same_checkpoint(run, trained):
    code, _, err = run("export", trained)
    assert code == 1
    assert "Evaluate the checkpoint first" in err

    run("evaluate", trained)
    record = Path("out/best-test.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "steps": 99}))
    code, _, err = run("export", trained)
    assert code == 1
    assert "got glow_digits after 99" in err


def test_sample_draws_from_a_model_by_name(run):
    code, _out, err = run("sample", "diagonal_bilstm_mnist", "--n", "1")
    assert (code, err) == (0, "")
    assert Path("samples.png").exists()


def test_folder_comes_before_the_name_of_a_model(run):
    Path("diagonal_bilstm_mnist").mkdir()
    code, _, err = run("sample", "diagonal_bilstm_mnist")
    assert code == 1
    assert "expects a checkpoint" in err
