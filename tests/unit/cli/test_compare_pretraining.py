"""`hilum compare-pretraining` refuses what cannot be meant before it looks at a single image."""

from hilum.cli.main import main
from hilum.store.opening import create_store


def test_an_unknown_pretext_is_told_before_anything_is_ingested(tmp_path, capsys):
    create_store(str(tmp_path / "store"))
    wrong = tmp_path / "mine.yaml"
    wrong.write_text("extends: compare-hippocampus\npretexts: {genesis: {pretext: {kind: genesys}}}\n")
    typed = ["compare-pretraining", str(wrong), "--data", str(tmp_path / "nowhere"), "--store", str(tmp_path / "store")]
    assert main(typed) == 2
    assert "Did you mean 'genesis'" in capsys.readouterr().err
    assert not list((tmp_path / "store").glob("runs/ingest/*"))


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    create_store(str(tmp_path / "store"))
    typed = ["compare-pretraining", "compare-hippocampus", "--data", str(tmp_path), "--store", str(tmp_path / "store")]
    assert main(typed) == 2
    assert "There is no folder" in capsys.readouterr().err
