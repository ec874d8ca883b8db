"""Archives: text and parameters of every kind, and those that are damaged or larger than they may be."""

from __future__ import annotations

import struct
import zipfile

import h5py
import numpy as np
import pytest
from nnp_files import executor, lenet, network, table, variable, write

from vis.files import nnp
from vis.files.nnp import archive, schema
from vis.models import load_model


@pytest.fixture
def path(tmp_path):
    return table(tmp_path / "results.nnp", 4, 3)


def rewritten(path, change):
    """The archive with other contents, which `change` makes of an entry's name and content; None leaves it out."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            content = change(name, content)
            if content is not None:
                file.writestr(name, content)
    return path


def refusal(path) -> str:
    with pytest.raises(ValueError, match=r"^path ") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_prototxt_with_a_byte_order_mark_is_read(path):
    expected = load_model(path)(np.ones((1, 4), np.float32))
    with zipfile.ZipFile(path) as file:
        text, weights = file.read("network.nntxt"), file.read("parameter.h5")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("network.prototxt", b"\xef\xbb\xbf" + text)
        file.writestr("parameter.h5", weights)
        file.writestr("Optimizer_00.optimizer", b"something")
    np.testing.assert_array_equal(load_model(path)(np.ones((1, 4), np.float32)), expected)


def test_parameters_in_protobuf_are_those_in_hdf5(path):
    expected = load_model(path)(np.ones((1, 4), np.float32))
    message = schema.File()
    with zipfile.ZipFile(path) as file, h5py.File(file.open("parameter.h5")) as weights:
        weights.visititems(lambda name, data: add(message, name, data) if isinstance(data, h5py.Dataset) else None)
        text = file.read("network.nntxt")
    write(path, text, **{"parameter.protobuf": message.SerializeToString()})
    np.testing.assert_array_equal(load_model(path)(np.ones((1, 4), np.float32)), expected)


def add(message, name, data):
    message.parameter.add(variable_name=name, data=np.asarray(data).ravel()).shape.dim.extend(data.shape)


def test_binary_parameters_have_nnabla_s_field_numbers():
    # Field 200: a Parameter; in it 1 the name, 20 a Shape whose field 1 has packed sizes, 100 packed floats.
    def field(number, content):
        tag = number << 3 | 2
        return bytes(varint(tag)) + bytes(varint(len(content))) + content

    def varint(value):
        while value > 127:
            yield value & 127 | 128
            value >>= 7
        yield value

    parameter = field(1, b"a/W") + field(20, field(1, bytes([2, 1]))) + field(100, struct.pack("<2f", 0.5, -2))
    (read,) = schema.File.FromString(field(200, parameter)).parameter
    assert (read.variable_name, list(read.shape.dim), list(read.data)) == ("a/W", [2, 1], [0.5, -2])


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_an_archive_cut_short(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "must be a complete .nnp file, not " in refusal(path)


def test_no_archive(tmp_path):
    (tmp_path / "a.nnp").write_text("hello")
    assert "must be a complete .nnp file, not " in refusal(tmp_path / "a.nnp")


def test_bits_that_have_flipped(path):
    content = bytearray(path.read_bytes())
    at = content.index(b"network.nntxt") + 40
    content[at : at + 20] = bytes(byte ^ 255 for byte in content[at : at + 20])
    path.write_bytes(content)
    assert "cut short or damaged" in refusal(path)


def test_parameters_that_are_damaged(path):
    rewritten(path, lambda name, content: content[: len(content) // 2] if name == "parameter.h5" else content)
    assert "cut short or damaged" in refusal(path)


def test_without_text(path):
    rewritten(path, lambda name, content: None if name.endswith(".nntxt") else content)
    assert "must contain the text of a network (*.nntxt or *.prototxt), which " in refusal(path)


def test_without_parameters(path):
    rewritten(path, lambda name, content: None if name.endswith(".h5") else content)
    assert "must contain a file of parameters (parameter.h5 or .protobuf), which " in refusal(path)


@pytest.mark.parametrize(
    "text",
    ["network {", "network { name: 3 }", "hello", "network: { variable: { shape: { dim: 'a' } } }", "x {" * 5000],
)
def test_text_that_is_none_of_a_network(path, text):
    rewritten(path, lambda name, content: text if name.endswith(".nntxt") else content)
    assert "must contain the text of a network, not what " in refusal(path)


def test_text_that_is_not_utf_8(path):
    rewritten(path, lambda name, content: b"\xff\xfe\x00" if name.endswith(".nntxt") else content)
    assert "must contain the text of a network, not what " in refusal(path)


def test_a_text_of_100_mb(path):
    rewritten(path, lambda name, content: b" " * 100 * 2**20 if name.endswith(".nntxt") else content)
    assert "must have at most 16 MB in network.nntxt, not 100 MB as in " in refusal(path)


def test_an_entry_that_unpacks_to_more_than_it_declares(path, monkeypatch):
    monkeypatch.setattr(archive, "_MOST_TEXT", 1000)
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    at = content.index(b"network.nntxt", directory) - 46 + 24
    content[at : at + 4] = struct.pack("<I", 900)
    path.write_bytes(content)
    assert refusal(path)


def test_parameters_of_more_than_two_gigabytes(tmp_path):
    items = [variable("x", -1, 4), variable("y", -1, 4), variable("W", 2**20, 2**20, kind="Parameter")]
    text = network("n", *items, 'function { name: "y" type: "Add2" input: "x" input: "W" output: "y" }')
    path = write(tmp_path / "a.nnp", text + executor("n", ["x"], ["y"]), {})
    assert "must have parameters of at most 2 GB, not of 1,099,511,627,776 numbers as " in refusal(path)


def test_a_parameter_that_is_missing(path):
    with h5py.File(path.parent / "a.h5", "w") as file:
        file["Affine/affine/W"] = np.zeros((4, 8))
    rewritten(path, lambda name, content: (path.parent / "a.h5").read_bytes() if name.endswith(".h5") else content)
    assert "must have the parameter 'Affine/affine/b', which " in refusal(path)


def test_a_parameter_of_another_shape(path):
    with h5py.File(path.parent / "a.h5", "w") as file:
        file["Affine/affine/W"] = np.zeros((8, 4))
    rewritten(path, lambda name, content: (path.parent / "a.h5").read_bytes() if name.endswith(".h5") else content)
    assert "must have the parameter 'Affine/affine/W' of shape (4, 8), not (8, 4) as " in refusal(path)


def test_a_parameter_that_does_not_fit_its_function(path):
    def narrower(name, content):
        text = content.decode(errors="ignore")
        return text.replace("dim:-1 dim: 4 ", "dim:-1 dim: 5 ") if name.endswith(".nntxt") else content

    assert "must be a network whose shapes fit, not with 'Affine' (Affine): " in refusal(rewritten(path, narrower))


def test_the_text_alone_is_enough_to_know_a_project(path):
    rewritten(path, lambda name, content: None if name.endswith(".h5") else content)
    assert nnp.read(path).networks == ("Main", "MainRuntime")


def test_another_extension(tmp_path):
    path = lenet(tmp_path / "results.nnp").rename(tmp_path / "results.zip")
    assert "must be a .nnp file by name too, not " in refusal(path)
