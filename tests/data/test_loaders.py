"""Every way in, and every way to get it wrong."""

import numpy as np
import pytest
import torch

from ntkscope.data import load
from ntkscope.data.registry import distribution


def test_real_sets():
    digits = load("digits")
    assert digits.X.shape == (1797, 64)
    assert digits.y.shape == (1797,)
    two = load("digits:classes=0,1,N=50")
    assert set(two.y.tolist()) == {0, 1}
    assert two.X.shape == (50, 64)
    for name in ("breast_cancer", "diabetes", "wine", "iris"):
        assert load(name).X.isfinite().all()


def test_distributions_know_themselves():
    drawn = load("gaussian:N=20,d=5", seed=3)
    assert drawn.X.shape == (20, 5)
    assert drawn.distribution == distribution("gaussian:d=5")
    assert torch.equal(load("gaussian:N=20,d=5,seed=3", seed=9).X, drawn.X)
    assert load("cube:N=4,d=2,centered=false").distribution.centered is False
    assert load("circle:N=4").X.shape == (4, 2)
    centred = load("gaussian:N=20,d=5", centered=True, scaled=True)
    assert centred.distribution is None
    assert centred.source.endswith("centred, rows scaled to √d")


def test_files(tmp_path):
    X = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "a.npy", X.astype(np.float32))
    np.savez(tmp_path / "a.npz", X=X, other=X[:2])
    torch.save(torch.from_numpy(X), tmp_path / "a.pt")
    torch.save({"X": torch.from_numpy(X)}, tmp_path / "b.pt")
    (tmp_path / "a.csv").write_text("a,b,label\n0,1,2\n3,4,5\n6,7,8\n9,10,11\n")
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"a": X[:, 0], "b": X[:, 1], "label": X[:, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for name in ("a.npy", "a.npz:X", "a.pt", "b.pt:X", "a.csv", "a.parquet"):
        assert torch.equal(load(str(tmp_path / name)).X, torch.from_numpy(X)), name
    for name in ("a.csv:y=label", "a.parquet:y=label"):
        labelled = load(str(tmp_path / name))
        assert labelled.X.shape == (4, 2)
        assert labelled.y.tolist() == [2, 5, 8, 11]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "did you mean 'digits'"),
        ("gaussian:N=10", "needs d"),
        ("gaussian:d=10", "needs N"),
        ("gaussian:N=10,d=3,M=1", "unknown option 'M'"),
        ("gaussian:N=0,d=3", "at least 1"),
        ("digits:classes=11", "has no class"),
        ("digits:classes=a", "must be integers"),
        ("digits:N=5000", "from 1 to 1797"),
        ("", "expected name"),
    ],
)
def test_bad_names(spec, message):
    with pytest.raises(ValueError, match=message):
        load(spec)


def test_bad_files(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    np.savez(tmp_path / "two.npz", X=np.ones((2, 2)), Y=np.ones((2, 2)))
    np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "flat.npy", np.ones(5))
    np.save(tmp_path / "complex.npy", np.ones((2, 2)) * 1j)
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    torch.save({"X": torch.ones(2, 2)}, tmp_path / "dict.pt")
    cases = [
        (f"{tmp_path}/two.npz", ValueError, "say which"),
        (f"{tmp_path}/two.npz:Z", ValueError, "unknown array 'Z'"),
        (f"{tmp_path}/nan.npy", ValueError, "NaN or infinite"),
        (f"{tmp_path}/text.npy", TypeError, "real numbers"),
        (f"{tmp_path}/flat.npy", ValueError, "two axes"),
        (f"{tmp_path}/complex.npy", TypeError, "real numbers"),
        (f"{tmp_path}/object.npy", ValueError, "cannot read .*object"),
        (f"{tmp_path}/dict.pt", ValueError, "say which"),
        (f"{tmp_path}/dict.pt:Z", ValueError, "unknown tensor"),
        (write("bad.npy", "junk"), ValueError, "cannot read .*bad.npy"),
        (write("bad.npz", "junk"), ValueError, "cannot read .*bad.npz"),
        (write("bad.parquet", "junk"), ValueError, "cannot read"),
        (write("bad.pt", "junk"), ValueError, "cannot read"),
        (write("binary.csv", b"\xff\xfe\x00"), ValueError, "cannot read"),
        (write("empty.csv", ""), ValueError, "is empty"),
        (write("word.csv", "a,b\n1,x\n"), ValueError, "line 2: 'x' is not a number"),
        (write("part.csv", "1,2x,3\n1,2,3\n"), ValueError, "'1' is a number and '2x' is none"),
        (write("long.csv", "a,b\n" + "9" * 200_000 + ",1\n"), ValueError, "field larger than"),
        (write("ragged.csv", "1,2\n3\n"), ValueError, "line 2: 1 fields, expected 2"),
        (write("head.csv", "a,b\n1,2\n") + ":y=c", ValueError, "unknown column 'c'"),
        (str(tmp_path / "absent.npy"), FileNotFoundError, "no file"),
    ]
    for spec, kind, message in cases:
        with pytest.raises(kind, match=message):
            load(spec)
