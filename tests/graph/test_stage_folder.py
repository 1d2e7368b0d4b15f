import shutil

import pytest

from edgellm.errors import BundleInvalid
from edgellm.graph.stage_folder import load_graph, open_stage
from edgellm.records.manifest import MODEL_FILE, WEIGHTS_FILE


@pytest.fixture
def stage(tiny_stage, tmp_path):
    return shutil.copytree(tiny_stage, tmp_path / "stage")


def test_weights_in_another_file_are_refused(stage):
    graph = (stage / MODEL_FILE).read_bytes()
    (stage / MODEL_FILE).write_bytes(graph.replace(WEIGHTS_FILE.encode(), b"../secrets.data"))

    with pytest.raises(BundleInvalid, match=r"of \.\./secrets\.data, which is not in the folder"):
        load_graph(open_stage(stage, check=False))


def test_weights_beyond_the_end_of_their_file_are_refused(stage):
    with (stage / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(1000)

    with pytest.raises(BundleInvalid, match="which is not in the folder: it is damaged"):
        load_graph(open_stage(stage, check=False))
