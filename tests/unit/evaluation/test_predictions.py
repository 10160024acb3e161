"""The table of predictions: what is written is what is read, and nothing unfit passes either way."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.predictions import read_coded, read_csv, read_predictions, write_predictions

STRINGS = ("dataset", "split", "label_name", "video", "frame")


def table(n=3, **columns):
    filled = {name: [f"{name}/{i}" for i in range(n)] for name in STRINGS}
    return {**filled, "label": np.arange(n) % 2, "prob": np.linspace(0, 1, n), **columns}


@given(rows=st.lists(st.tuples(st.text("aé/\\|. \n", max_size=9), st.integers(0, 1), st.floats(0, 1)), max_size=9))
def test_a_table_comes_back_as_it_went(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("predictions") / "deep" / "UADFV.parquet"
    written = table(len(rows), frame=[row[0] for row in rows], label=[row[1] for row in rows])
    written["prob"] = np.array([row[2] for row in rows])
    metadata = {"config": {"resolution": 224, "train_dataset": ["FF-DF"]}, "note": "é"}
    write_predictions(path, written, metadata)
    read, found = read_predictions(path)
    assert found == metadata
    assert all(read[name] == written[name] for name in STRINGS)
    assert read["label"].dtype == np.int8 and read["label"].tolist() == list(written["label"])
    assert read["prob"].dtype == np.float64 and (read["prob"] == written["prob"]).all()


@pytest.mark.parametrize("read", [read_coded, read_predictions])
def test_a_name_that_is_no_utf8_is_one_line(tmp_path, read):
    video = pa.StringArray.from_buffers(1, pa.py_buffer(np.int32([0, 1])), pa.py_buffer(b"\xeb"))
    pq.write_table(pa.table(table(1, video=video)), tmp_path / "bad.parquet")
    with pytest.raises(LNCLIPError, match=r"bad\.parquet is not a table of predictions: .*UTF8"):
        read(tmp_path / "bad.parquet")


def test_single_precision_and_torch_like_inputs_are_widened(tmp_path):
    write_predictions(tmp_path / "a.parquet", table(prob=np.float32([0.1, 0.2, 1]), label=[0.0, 1.0, 1.0]), {})
    read, metadata = read_predictions(tmp_path / "a.parquet")
    assert read["prob"][0] == np.float64(np.float32(0.1)) and metadata == {}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prob": [0.5, float("nan"), 0.5]}, r"row 1 \(frame/1\): prob is nan, not within 0..1"),
        ({"prob": [0.5, 0.5, 1.01]}, r"row 2 \(frame/2\): prob is 1.01"),
        ({"prob": [-1e-9, 0.5, 0.5]}, r"row 0 \(frame/0\): prob is -1e-09"),
        ({"label": [0, 1, 2]}, r"row 2 \(frame/2\): label is 2, not 0 or 1"),
    ],
)
def test_unfit_values_are_named_on_writing_and_reading(tmp_path, columns, message):
    path = tmp_path / "bad.parquet"
    with pytest.raises(LNCLIPError, match=message):
        write_predictions(path, table(**columns), {})
    assert not path.exists()
    pq.write_table(pa.table(table(**columns)), path)
    with pytest.raises(LNCLIPError, match=message) as caught:
        read_predictions(path)
    assert "bad.parquet" in str(caught.value)


def test_columns_must_be_complete_and_of_one_length(tmp_path):
    short = table()
    del short["prob"]
    with pytest.raises(ValueError, match="columns are"):
        write_predictions(tmp_path / "a.parquet", short, {})
    with pytest.raises(ValueError, match="differ in length"):
        write_predictions(tmp_path / "a.parquet", table(prob=[0.5]), {})
    pq.write_table(pa.table(short), tmp_path / "a.parquet")
    with pytest.raises(LNCLIPError, match=r"a.parquet is not a table of predictions: no column prob"):
        read_predictions(tmp_path / "a.parquet")


def test_other_files_are_refused_by_name(tmp_path):
    (tmp_path / "text.parquet").write_text("no parquet at all")
    nulls = pa.table(table(frame=["a", None, "c"]))
    pq.write_table(nulls, tmp_path / "nulls.parquet")
    pq.write_table(pa.table(table(label=["real", "fake", "fake"])), tmp_path / "words.parquet")
    for name in ("text", "nulls", "words"):
        with pytest.raises(LNCLIPError, match=rf"{name}.parquet is not a table of predictions: ") as caught:
            read_predictions(tmp_path / f"{name}.parquet")
        assert "\n" not in str(caught.value)
    with pytest.raises(LNCLIPError, match=r"cannot read .*absent.parquet"):
        read_predictions(tmp_path / "absent.parquet")


def decoded(column):
    return [column.values[place] for place in column.code]


def test_codes_say_what_the_strings_say(tmp_path):
    written = table(4, video=["b", "a", "b", "a"], label=[1, 0, 1, 0], method=["swap", None, "swap", ""])
    write_predictions(tmp_path / "a.parquet", written, {"note": 1})
    read, metadata = read_coded(tmp_path / "a.parquet")
    assert metadata == {"note": 1} and decoded(read["video"]) == written["video"]
    assert decoded(read["label_name"]) == written["label_name"]
    assert decoded(read["method"]) == ["swap", "", "swap", ""]
    assert (read["prob"] == written["prob"]).all() and read["label"].tolist() == [1, 0, 1, 0]
    assert set(read_predictions(tmp_path / "a.parquet")[0]) == {*STRINGS, "label", "prob"}


def test_a_table_without_rows_has_no_codes(tmp_path):
    write_predictions(tmp_path / "a.parquet", table(0), {})
    assert decoded(read_coded(tmp_path / "a.parquet")[0]["video"]) == []


def test_an_unfit_row_is_named_by_its_video(tmp_path):
    pq.write_table(pa.table(table(prob=[0.5, float("nan"), 0.5])), tmp_path / "a.parquet")
    with pytest.raises(LNCLIPError, match=r"row 1 \(video/1\): prob is nan"):
        read_coded(tmp_path / "a.parquet")


HEADER = "dataset,video,label,prob"


def test_other_tools_predictions_are_read_by_dataset(tmp_path):
    rows = [
        "method,frame,dataset,extra,video,label,prob",
        ",1,A,x,001,0,0.25",
        '"s,w",2,B,x,001,1,1',
        "q,3,A,x,7,1,0.5",
    ]
    (tmp_path / "a.csv").write_text("\ufeff" + "\n".join(rows), encoding="utf-8")
    found = read_csv(tmp_path / "a.csv")
    assert list(found) == ["A", "B"]
    assert decoded(found["A"]["video"]) == ["001", "7"] and decoded(found["A"]["method"]) == ["", "q"]
    assert found["A"]["label"].tolist() == [0, 1] and found["A"]["prob"].tolist() == [0.25, 0.5]
    assert decoded(found["B"]["method"]) == ["s,w"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}\nA,v1,0,0.5\nA,v2,1,nan\n", r"row 1 \(v2\): prob is nan, not within 0..1"),
        (f"{HEADER}\nA,v1,0,1.5\n", r"row 0 \(v1\): prob is 1.5"),
        (f"{HEADER}\nA,v1,0,\n", "column prob: could not convert string to float: ''"),
        (f"{HEADER}\nA,v1,2,0.5\n", r"row 0 \(v1\): label is 2.0, not 0 or 1"),
        (f"{HEADER}\nA,v1,fake,0.5\n", "column label: .*'fake'; write 0 for real and 1 for fake"),
        (f"{HEADER}\nA,v1,0,45%\n", "column prob: .*'45%'; write numbers with a point"),
        (f"{HEADER}\nA,v1,0,0.5\n,v2,1,0.5\n", "row 1: dataset is empty; write it in every row"),
        (f"{HEADER}\nA,v1,0,0.5\nA,,1,0.5\n", "row 1: video is empty; write it in every row"),
        (f"{HEADER}\nA,v1\n", "line 2 has 2 cells, not 4"),
        (f"{HEADER}\n", "has no rows"),
        ("dataset,video,prob\nA,v,0.5\n", "no column label; needed are dataset, video, label, prob"),
        ("", "has no rows"),
    ],
)
def test_an_unfit_csv_is_one_line(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(LNCLIPError, match=message) as caught:
        read_csv(tmp_path / "a.csv")
    assert "a.csv" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(LNCLIPError, match=r"cannot read .*absent"):
        read_csv(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset,video,label,prob,prob\nD,v,0,0.1,0.9\n", "the column prob is there twice"),
        ("dataset,video,label,prob\nD,v,0,0.1\nE,v,0,0.2\nD,v,0,0.3\n", "the video v of D has two rows"),
        (
            "dataset,video,label,prob,frame\nD,v,0,0.1,\nD,v,0,0.3,\n",
            "the video v of D has two rows; .*name the frames",
        ),
        (
            "dataset,video,label,prob,frame\nD,v,0,0.1,a\nD,v,0,0.1,b\nD,v,0,0.3,a\n",
            "the frame a of video v of D has two",
        ),
    ],
)
def test_what_stands_twice_in_a_csv_is_refused_and_named(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(LNCLIPError, match=message):
        read_csv(tmp_path / "a.csv")
