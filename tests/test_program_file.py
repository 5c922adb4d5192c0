"""Reading .pt2 files: what is right loads, what could run code does not run."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reluxfast.errors import InvalidInput
from reluxfast.program_file import load_program, row_shape


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, stride=2)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)
        self.register_buffer("shift", torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1))

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x - self.shift)))
        x = F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bilinear")
        return self.head(x.view(x.shape[0], 4, -1).mean(2)) + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])


def exported(path: Path, batch: str = "any", size: str = "fixed") -> tuple[nn.Module, Path]:
    model = Small().eval()
    example = torch.rand(2 if batch == "any" else int(batch), 3, 8, 8)
    shapes: dict[int, object] = {0: torch.export.Dim("batch", min=1)} if batch == "any" else {}
    if size == "any":
        shapes |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(model, (example,), dynamic_shapes=(shapes,) if shapes else None)
    torch.export.save(program, path)
    return model, path


@pytest.mark.parametrize(("batch", "size"), [("any", "fixed"), ("any", "any"), ("1", "fixed"), ("4", "fixed")])
def test_a_program_is_read_back_exactly(tmp_path, batch, size):
    model, path = exported(tmp_path / "model.pt2", batch, size)
    program = load_program(path)
    x = torch.rand(2 if batch == "any" else int(batch), 3, 8, 8)
    assert torch.equal(program.module()(x), model(x))
    shape, dtype = row_shape(program)
    assert shape == ((3, None, None) if size == "any" else (3, 8, 8))
    assert dtype == torch.float32
    assert program.example_inputs is None


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path):
        self.marker = str(marker)

    def __reduce__(self):
        return (open, (self.marker, "w"))


def pickled(marker: Path) -> bytes:
    buffer = BytesIO()
    torch.save((Touch(marker),), buffer)
    return buffer.getvalue()


def code(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w')"


def rewrite(path: Path, change) -> Path:
    """Apply `change(members)` to the archive's members, a dict of name without root folder to bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {i.filename.partition("/")[2]: archive.read(i) for i in archive.infolist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"model/{name}", content)
    return path


def edit_json(members: dict[str, bytes], name: str, change) -> None:
    document = json.loads(members[name])
    change(document)
    members[name] = json.dumps(document).encode()


MODEL, WEIGHTS, CONSTANTS = (
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)


def first_node(document):
    return document["graph_module"]["graph"]["nodes"][0]


def sample_inputs(members, marker):
    members["data/sample_inputs/model.pt"] = pickled(marker)


def legacy_weights(members, marker):
    members["data/weights/model.pt"] = pickled(marker)


def guard(members, marker):
    edit_json(members, MODEL, lambda d: d.update(guards_code=[f"{code(marker)} is not None"]))


def pickled_weight(members, marker):
    def change(document):
        entry = document["config"]["conv.weight"]
        entry.update(use_pickle=True)
        members[f"data/weights/{entry['path_name']}"] = pickled(marker)

    edit_json(members, WEIGHTS, change)


def opaque_constant(members, marker):
    def change(document):
        first = next(iter(document["config"].values()))
        document["config"]["evil"] = {**first, "path_name": "opaque_obj_0", "use_pickle": True}

    edit_json(members, CONSTANTS, change)
    import pickle

    members["data/constants/opaque_obj_0"] = pickle.dumps(Touch(marker))


def shape_expression(members, marker):
    text = members[MODEL].decode()
    assert "Symbol('s" in text, "the batch is dynamic, so there is an expression to replace"
    start = text.index('"expr_str": "') + len('"expr_str": "')
    stop = text.index('"', start)
    members[MODEL] = (text[:start] + code(marker) + text[stop:]).encode()


def shape_builtin(members, marker):
    text = members[MODEL].decode()
    start = text.index('"expr_str": "') + len('"expr_str": "')
    members[MODEL] = (text[:start] + "exec(" + text[start:]).replace('integer=True)"', 'integer=True))"', 1).encode()


def operator_outside(members, marker):
    edit_json(members, MODEL, lambda d: first_node(d).update(target="torch.os.system"))


def operator_on_files(members, marker):
    edit_json(members, MODEL, lambda d: first_node(d).update(target="torch.ops.aten.from_file.default"))


def operator_attribute(members, marker):
    edit_json(members, MODEL, lambda d: first_node(d).update(target="torch.ops.aten.__dict__.update"))


def node_name(members, marker):
    text = members[MODEL].decode()
    members[MODEL] = text.replace('"conv2d"', json.dumps(f"conv2d = {code(marker)}\n    y")).encode()


def argument_name(members, marker):
    def change(document):
        entry = document["graph_module"]["module_call_graph"][0]["signature"]
        entry["forward_arg_names"] = [f"x={code(marker)}"]

    edit_json(members, MODEL, change)


def imported_type(members, marker):
    def change(document):
        entry = document["graph_module"]["module_call_graph"][0]["signature"]
        tree = json.loads(entry["out_spec"])
        tree[1] = {
            "type": "collections.defaultdict",
            "context": '{"default_factory_module": "this"}',
            "children_spec": [],
        }
        entry["out_spec"] = json.dumps(tree)

    edit_json(members, MODEL, change)


LEFT_OUT = [sample_inputs, legacy_weights, guard]
REFUSED = {
    pickled_weight: "pickled entry 'conv.weight'",
    opaque_constant: "opaque_obj_0",
    shape_expression: 'plain arithmetic in shapes, got "open(',
    shape_builtin: 'plain arithmetic in shapes, got "exec(',
    operator_outside: "torch.os.system",
    operator_on_files: "from_file",
    operator_attribute: "__dict__",
    node_name: "conv2d = open(",
    argument_name: "x=open(",
    imported_type: "collections.defaultdict",
}


@pytest.mark.parametrize("attack", LEFT_OUT, ids=lambda a: a.__name__)
def test_what_could_run_is_left_out(tmp_path, attack):
    marker = tmp_path / "it-ran"
    model, path = exported(tmp_path / "model.pt2")
    program = load_program(rewrite(path, lambda members: attack(members, marker)))
    x = torch.rand(3, 3, 8, 8)
    assert torch.equal(program.module()(x), model(x))
    assert not marker.exists()


@pytest.mark.parametrize("attack", REFUSED, ids=lambda a: a.__name__)
def test_what_could_run_is_refused_by_name(tmp_path, attack):
    marker = tmp_path / "it-ran"
    _, path = exported(tmp_path / "model.pt2")
    rewrite(path, lambda members: attack(members, marker))
    with pytest.raises(InvalidInput) as caught:
        load_program(path).module()(torch.rand(2, 3, 8, 8))
    assert REFUSED[attack] in str(caught.value)
    assert not marker.exists()


def test_a_compressed_or_doubled_member_is_refused(tmp_path):
    _, path = exported(tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/extra", b"0" * 1000)
    with pytest.raises(InvalidInput, match="compressed member"):
        load_program(path)
    _, path = exported(tmp_path / "other.pt2")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("other/models/model.json", b"{}")
    with pytest.raises(InvalidInput, match="every member once"):
        load_program(path)


@pytest.mark.parametrize("content", [b"", b"no zip at all", "zip"])
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "model.pt2"
    if content == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hello/readme.txt", "hi")
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"model\.pt2.*torch\.export\.save"):
        load_program(path)


def test_an_archive_without_its_weights_is_named(tmp_path):
    _, path = exported(tmp_path / "model.pt2")
    rewrite(path, lambda members: members.pop("data/weights/weight_0"))
    with pytest.raises(InvalidInput, match="weight_0"):
        load_program(path)


def test_damage_that_the_loader_meets_is_told_in_one_line(tmp_path, caplog):
    _, path = exported(tmp_path / "model.pt2")
    rewrite(path, lambda members: members.update({"data/weights/weight_0": members["data/weights/weight_0"][:8]}))
    with caplog.at_level("DEBUG", logger="torch.export"), pytest.raises(InvalidInput) as caught:
        load_program(path)
    assert "out of bounds for storage" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [record for record in caplog.records if record.name == "torch.export"]


def test_a_bottomless_description_is_refused(tmp_path):
    depth = 200_000
    _, path = exported(tmp_path / "model.pt2")
    rewrite(path, lambda members: members.update({MODEL: b"[" * depth + b"]" * depth}))
    with pytest.raises(InvalidInput, match="RecursionError"):
        load_program(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"nothing-here.*no such file"):
        load_program(tmp_path / "nothing-here.pt2")
