"""The hub's texts, read from folders in the hub's schemas that are written here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import datasets
import huggingface_hub
import pandas as pd
import pytest

from course_lib.errors import CourseError
from course_lib.texts import IDENTITIES, TEXT_SOURCES, load_texts
from tests.hub_folders import FORMATS, WRITERS, write_hub_folder, write_rows

each_text = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or left in the user's cache, and the hub is never asked."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def published(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))])


def test_every_hub_text_has_a_folder_here() -> None:
    assert set(WRITERS) == {name for name, source in TEXT_SOURCES.items() if source.hub_id}


@each_text
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_folder_of_any_format_gives_every_row(tmp_path: Path, name: str, file_format: str) -> None:
    folder = write_hub_folder(name, tmp_path / "data", num_rows=210, file_format=file_format)
    loaded = load_texts(name, source=str(folder))
    assert len(loaded) == 210
    assert loaded.column_names == list(TEXT_SOURCES[name].columns)
    assert len(set(loaded["label"])) == (3 if name == "multinli" else 2)


@each_text
def test_columns_have_the_kinds_documented(tmp_path: Path, name: str) -> None:
    loaded = load_texts(name, source=str(write_hub_folder(name, tmp_path / "data")))
    for column, meaning in TEXT_SOURCES[name].columns.items():
        kind = {"str": "string", "int": "int64", "float": "float64"}[meaning.partition(",")[0]]
        assert loaded.features[column].dtype.removeprefix("large_") == kind


@each_text
def test_no_document_or_group_crosses_splits(tmp_path: Path, name: str) -> None:
    folder = write_hub_folder(name, tmp_path / "data", num_rows=600)
    loaded = load_texts(name, source=str(folder)).to_pandas()
    assert set(loaded["split"]) == {"train", "validation", "test"}
    assert (loaded.groupby("document_id")["split"].nunique() == 1).all()
    assert (loaded.groupby("group")["split"].nunique() == 1).all()
    for _, positions in loaded.groupby("document_id")["position"]:
        assert list(positions) == list(range(len(positions)))


def test_a_folder_is_the_same_again_for_the_same_seed(tmp_path: Path) -> None:
    first, again, other = (
        published(write_hub_folder("yelp", tmp_path / str(i), seed=seed)) for i, seed in enumerate((0, 0, 1))
    )
    pd.testing.assert_frame_equal(first, again)
    assert list(first["text"]) != list(other["text"])


def test_a_split_can_be_asked_for(tmp_path: Path) -> None:
    folder = str(write_hub_folder("yelp", tmp_path / "data"))
    assert set(load_texts("yelp", split="test", source=folder)["split"]) == {"test"}


def test_a_repeated_review_stays_on_one_side(tmp_path: Path) -> None:
    copies = [
        {
            "text": f"Visit {i // 2}. {'The SOUP was lovely!' if i % 2 else 'the soup was lovely'}",
            "label": i % 2,
        }
        for i in range(200)
    ]
    write_rows(copies, tmp_path / "train.parquet")
    loaded = load_texts("yelp", source=str(tmp_path)).to_pandas()
    assert list(loaded["group"][0::2]) == list(loaded["group"][1::2])
    assert loaded["group"].nunique() == 100


def test_questions_about_one_passage_are_one_document(tmp_path: Path) -> None:
    loaded = load_texts("boolq", source=str(write_hub_folder("boolq", tmp_path / "data", num_rows=240)))
    assert set(Counter(loaded["document_id"]).values()) == {2}


def test_multinli_leaves_out_pairs_without_a_label(tmp_path: Path) -> None:
    folder = write_hub_folder("multinli", tmp_path / "data", num_rows=210)
    train = pd.read_parquet(folder / "train.parquet")
    train.loc[:9, "label"] = -1
    train.to_parquet(folder / "train.parquet", index=False)
    assert len(load_texts("multinli", source=str(folder))) == 200


def test_multinli_keeps_both_validation_sets(tmp_path: Path) -> None:
    loaded = load_texts("multinli", source=str(write_hub_folder("multinli", tmp_path / "data")))
    assert {"fiction", "government", "telephone", "verbatim"} <= set(loaded["genre"])


def test_comments_keep_toxicity_and_identities(tmp_path: Path) -> None:
    folder = write_hub_folder("civil_comments", tmp_path / "data")
    rows = published(folder)
    loaded = load_texts("civil_comments", source=str(folder)).to_pandas()
    assert list(loaded["text"]) == list(rows["comment_text"])
    assert list(loaded["label"]) == [int(toxicity >= 0.5) for toxicity in rows["toxicity"]]
    for identity in IDENTITIES:
        assert list(loaded[identity]) == list(rows[identity])
        assert {0, 1} == set(loaded[loaded[identity] > 0.5]["label"])


def test_comments_that_nobody_annotated_mention_no_identity(tmp_path: Path) -> None:
    folder = write_hub_folder("civil_comments", tmp_path / "data")
    rows = published(folder)
    rows.loc[:4, list(IDENTITIES)] = None
    rows.to_parquet(folder / "train.parquet", index=False)
    loaded = load_texts("civil_comments", source=str(folder)).to_pandas()
    assert (loaded.loc[:4, list(IDENTITIES)] == 0).all(axis=None)


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("boolq", "answer"),
        ("multinli", "promptID"),
        ("yelp", "label"),
        ("civil_comments", "comment_text"),
        ("civil_comments", "LGBTQ"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, name: str, column: str) -> None:
    rows = published(write_hub_folder(name, tmp_path / "data")).drop(columns=column)
    write_rows(rows.to_dict("records"), tmp_path / "without" / "train.parquet") if (
        tmp_path / "without"
    ).mkdir() is None else None
    with pytest.raises(CourseError, match=f"lack the column {column}"):
        load_texts(name, source=str(tmp_path / "without"))


@pytest.mark.parametrize("label", [2, -1, 0.5, None, "good"])
def test_a_label_outside_the_range_is_refused(tmp_path: Path, label: object) -> None:
    labels = [str(label), "1"] if isinstance(label, str) else [label, 1]
    rows = [{"text": f"review {i}", "label": value} for i, value in enumerate(labels)]
    write_rows(rows, tmp_path / "train.parquet")
    with pytest.raises(CourseError, match=r"outside 0 to 1|Row 1 of the yelp texts has no"):
        load_texts("yelp", source=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "column"),
    [("yelp", "text"), ("multinli", "premise"), ("boolq", "passage"), ("civil_comments", "toxicity")],
)
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_hole_is_refused_with_its_row(tmp_path: Path, name: str, column: str, file_format: str) -> None:
    rows = published(write_hub_folder(name, tmp_path / "data")).astype(object)
    rows.loc[3, column] = None
    (tmp_path / "holes").mkdir()
    write_rows(rows.to_dict("records"), tmp_path / "holes" / f"train.{file_format}")
    with pytest.raises(CourseError, match=f"Row 4 of the {name} texts has nothing in the column `{column}`"):
        load_texts(name, source=str(tmp_path / "holes"))


@pytest.mark.parametrize("file_format", FORMATS)
def test_texts_of_a_folder_stay_as_they_are_written(tmp_path: Path, file_format: str) -> None:
    texts = ["007", "NA", "None", "2024-01-02", "1.10", "nan", "true", "1e5"]
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(texts)]
    write_rows(rows, tmp_path / f"train.{file_format}")
    assert load_texts("yelp", source=str(tmp_path))["text"][:] == texts


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="could not be read"):
        load_texts("boolq", source=str(tmp_path / "nowhere"))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="could not be read"):
        load_texts("boolq", source=str(tmp_path))


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CourseError, match="could not be read"):
        load_texts("boolq", source=str(tmp_path))


def test_files_of_different_schemas_are_an_error(tmp_path: Path) -> None:
    write_rows([{"text": "a", "label": 0}], tmp_path / "train.jsonl")
    write_rows([{"words": "a", "label": "x"}], tmp_path / "test.jsonl")
    with pytest.raises(CourseError):
        load_texts("yelp", source=str(tmp_path))


@each_text
def test_without_the_hub_the_error_names_the_embedded_texts(name: str) -> None:
    with pytest.raises(CourseError, match="Embedded texts: movie, product") as caught:
        load_texts(name)
    assert caught.value.given == TEXT_SOURCES[name].hub_id
