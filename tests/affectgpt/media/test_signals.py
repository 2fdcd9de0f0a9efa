"""Signals: numbers, rate and names as the files hold them; and what is none, in words that name it."""

from __future__ import annotations

import io
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectgpt.media import signals
from affectgpt.media.recording import Recording
from affectgpt.media.sandbox import map_sandboxed
from affectgpt.media.signals import check_signal, read_signal
from affectgpt.media.source import MediaError

NAMES = ("Fp1", "Fp2", "Cz")
RATE = 128.0


def waves(channels: int = 3, samples: int = 256) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(channels, samples)) * 50


def write_edf(path: Path, samples: np.ndarray, names: tuple[str, ...], per_record: int = 128) -> None:
    """An EDF of one-second records, in microvolts; 16-bit steps of 0.1."""
    count, records = len(samples), samples.shape[1] // per_record
    head = f"{0:<8}{'X X X X':<80}{'Startdate X X X X':<80}01.01.2001.01.01{256 * (count + 1):<8}{'':<44}"
    head = head.replace("01.01.2001.01.01", "01.01.0101.01.01") + f"{records:<8}{1:<8}{count:<4}"
    columns: list[tuple[Any, int]] = [
        (names, 16),
        (["electrode"] * count, 80),
        (["uV"] * count, 8),
        ([-3276.8] * count, 8),
        ([3276.7] * count, 8),
        ([-32768] * count, 8),
        ([32767] * count, 8),
        ([""] * count, 80),
        ([per_record] * count, 8),
        ([""] * count, 32),
    ]
    head += "".join(f"{value:<{width}}" for values, width in columns for value in values)
    steps = np.round(samples * 10).astype("<i2").reshape(count, records, per_record).swapaxes(0, 1)
    path.write_bytes(head.encode("ascii") + steps.tobytes())


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **{"data": waves(), "rate": RATE, "channels": np.array(NAMES), **arrays})
    return path


def test_an_array_takes_rate_and_names_from_its_row(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", waves())
    signal = read_signal(Recording(tmp_path / "a.npy", RATE, NAMES))
    assert signal.samples.dtype == np.float32
    assert np.array_equal(signal.samples, waves().astype(np.float32))
    assert (signal.rate, signal.channels) == (RATE, NAMES)
    np.save(tmp_path / "b.npy", np.asfortranarray((waves() * 100).astype(np.int16)))
    assert np.array_equal(
        read_signal(Recording(tmp_path / "b.npy", RATE, NAMES)).samples, (waves() * 100).astype(np.int16)
    )


def test_an_archive_tells_its_own(tmp_path: Path) -> None:
    signal = read_signal(Recording(npz(tmp_path / "a.npz")))
    assert np.array_equal(signal.samples, waves().astype(np.float32))
    assert (signal.rate, signal.channels) == (RATE, NAMES)
    assert read_signal(Recording(npz(tmp_path / "b.npz", rate=np.array([100])))).rate == 100


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [(0.5, 1.5, 64, 192), (None, 0.25, 0, 32), (1.0, None, 128, 256), (1.9, 99.0, 243, 256)],
)
def test_the_part_that_counts(start: float | None, end: float | None, first: int, last: int, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", waves())
    of_array = read_signal(Recording(tmp_path / "a.npy", RATE, NAMES, start, end))
    of_archive = read_signal(Recording(npz(tmp_path / "a.npz"), start=start, end=end))
    for signal in (of_array, of_archive):
        assert np.array_equal(signal.samples, waves()[:, first:last].astype(np.float32))


def test_edf_and_fif_by_mne(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    write_edf(tmp_path / "a.edf", waves(), NAMES)
    signal = read_signal(Recording(tmp_path / "a.edf"))
    assert (signal.rate, signal.channels) == (RATE, NAMES)
    assert np.abs(signal.samples * 1e6 - waves()).max() < 0.06
    part = read_signal(Recording(tmp_path / "a.edf", start=0.5, end=1.5))
    assert np.array_equal(part.samples, signal.samples[:, 64:192])

    info = mne.create_info([*NAMES, "STI"], RATE, ["eeg"] * 3 + ["stim"])
    raw = mne.io.RawArray(np.concatenate([waves() * 1e-6, np.zeros((1, 256))]), info, verbose="ERROR")
    for name in ("a_eeg.fif", "a_eeg.fif.gz"):
        raw.save(tmp_path / name, verbose="ERROR")
        found = read_signal(Recording(tmp_path / name))
        assert found.channels == NAMES
        assert np.allclose(found.samples, waves() * 1e-6, rtol=1e-5)
    long = mne.io.RawArray(np.zeros((4, 300_000)), info, verbose="ERROR")
    long.save(tmp_path / "long_eeg.fif", split_size="2MB", buffer_size_sec=10, verbose="ERROR")
    with pytest.raises(MediaError, match=r"long_eeg\.fif: the first of \d files of a recording"):
        read_signal(Recording(tmp_path / "long_eeg.fif"))
    events = mne.io.RawArray(np.zeros((1, 9)), mne.create_info(["STI"], RATE, ["stim"]), verbose="ERROR")
    events.save(tmp_path / "events_eeg.fif", verbose="ERROR")
    with pytest.raises(MediaError, match="no channel but triggers"):
        read_signal(Recording(tmp_path / "events_eeg.fif"))
    for name in ("cut.edf", "cut_eeg.fif"):
        whole = (tmp_path / name.replace("cut", "a")).read_bytes()
        (tmp_path / name).write_bytes(whole[:300])
        with pytest.raises(MediaError, match=name):
            read_signal(Recording(tmp_path / name))
    (tmp_path / "paper.edf").write_bytes(b"%PDF-1.7\n" * 90)
    with pytest.raises(MediaError, match=r"paper\.edf: no signal that can be read"):
        read_signal(Recording(tmp_path / "paper.edf"))


def test_without_mne_one_learns_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_edf(tmp_path / "a.edf", waves(), NAMES)
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(MediaError, match=r"a\.edf: mne reads it and is not installed\. Install it with: pip install"):
        read_signal(Recording(tmp_path / "a.edf"))


def headed(shape: tuple[int, ...]) -> bytes:
    """An .npy that promises numbers of a shape and holds none."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_what_is_no_signal_ends_in_words_that_name_it(tmp_path: Path) -> None:
    bad = waves()
    bad[1, 7] = np.nan
    objects = np.array([["a", {}]], dtype=object)
    arrays = {
        "nan": bad,
        "infinite": np.where(np.isnan(bad), np.inf, bad),
        "overflow": np.full((3, 4), 1e300),
        "objects": objects,
        "words": np.array([["a", "b"]] * 3),
        "complex": waves() * 1j,
        "flat": waves()[0],
        "cube": waves()[None],
        "hollow": waves(3, 0),
        "channelless": np.zeros((0, 5)),
        "unnamed": waves(4),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    good = Recording(tmp_path / "good.npy", RATE, NAMES)
    np.save(good.path, waves())
    (tmp_path / "cut.npy").write_bytes(good.path.read_bytes()[:500])
    (tmp_path / "huge.npy").write_bytes(headed((10**9, 10**9)))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "paper.npz").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "single.npz").write_bytes(good.path.read_bytes())
    with zipfile.ZipFile(tmp_path / "promise.npz", "w") as archive:
        for name in ("rate", "channels"):
            archive.writestr(f"{name}.npy", zipfile.ZipFile(npz(tmp_path / "good.npz")).read(f"{name}.npy"))
        archive.writestr("data.npy", headed((3, 1 << 40)))
    cases: list[tuple[Recording, str]] = [
        *((replace(good, path=tmp_path / f"{name}.npy"), words) for name, words in (
            ("nan", "NaN or infinite, in Fp2"),
            ("infinite", "NaN or infinite, in Fp2"),
            ("overflow", "NaN or infinite, in Fp1, Fp2, Cz"),
            ("objects", "no signal that can be read"),
            ("words", "of numbers, got (3, 2) <U1"),
            ("complex", "complex128"),
            ("flat", "expected (channels, samples)"),
            ("cube", "expected (channels, samples)"),
            ("hollow", "no sample"),
            ("channelless", "no channel"),
            ("unnamed", "3 names of channels, expected 4"),
            ("cut", "no signal that can be read"),
            ("huge", "no signal that can be read"),
            ("empty", "the file is empty"),
            ("none", "nothing there"),
        )),
        (replace(good, start=2.5), "no sample in the part"),
        (replace(good, rate=0.0), "a rate of 0 Hz"),
        (replace(good, rate=None), "does not tell its rate and channels"),
        (replace(good, channels=None), "does not tell its rate and channels"),
        (replace(good, channels=("a", "a", "b")), "channels of different names"),
        (replace(good, channels=("a", " ", "b")), "none of them empty"),
        (Recording(tmp_path / "paper.npz"), "no .npz archive"),
        (Recording(tmp_path / "single.npz"), "no .npz archive"),
        (Recording(tmp_path / "promise.npz"), f"data: an array of (3, {1 << 40}) float64, expected at most"),
        (Recording(npz(tmp_path / "lost.npz", data=bad)), "NaN or infinite, in Fp2"),
        (Recording(npz(tmp_path / "pickled.npz", data=objects)), "data: an array of Python objects"),
        (Recording(npz(tmp_path / "named.npz", channels=np.array(NAMES, object))), "channels: an array of Python"),
        (Recording(npz(tmp_path / "numbered.npz", channels=np.arange(3))), "channels: expected a list of names"),
        (Recording(npz(tmp_path / "long.npz", channels=np.array(["x" * 9999] * 3))), "channels: an array of (3,)"),
        (Recording(npz(tmp_path / "rates.npz", rate=np.array([1.0, 2.0]))), "rate: an array of (2,)"),
        (Recording(npz(tmp_path / "spoken.npz", rate=np.array("fast"))), "rate: expected one number"),
        (Recording(npz(tmp_path / "never.npz", rate=np.nan)), "a rate of nan Hz"),
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "lacking.npz", "w") as archive:
        archive.writestr("data.npy", good.path.read_bytes())
    cases.append((Recording(tmp_path / "lacking.npz"), "it lacks rate, channels"))
    outcomes = dict(map_sandboxed(check_signal, [item for item, _ in cases], workers=1, timeout_s=30))
    for item, words in cases:
        outcome = outcomes[item]
        assert isinstance(outcome, MediaError), item.path.name
        assert str(outcome).startswith(f"{item.path}: ")
        assert words in str(outcome)
    assert check_signal(good) is None


def test_what_unpacks_to_more_than_is_allowed_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "MOST_VALUES", 3 * 256)
    bomb = npz(tmp_path / "bomb.npz", data=np.zeros((3, 100_000)))
    assert bomb.stat().st_size < 10_000
    unpacked: list[str] = []
    read = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda self, name: (unpacked.append(name), read(self, name))[1]
    )
    with pytest.raises(MediaError, match=r"data: an array of \(3, 100000\) float64, expected at most 768 values"):
        read_signal(Recording(bomb))
    assert "data" not in unpacked
    read_signal(Recording(npz(tmp_path / "most.npz")))
    np.save(tmp_path / "long.npy", np.zeros((3, 1000)))
    with pytest.raises(MediaError, match=r"3000 numbers, expected at most 768\. Name a part by start and end"):
        read_signal(Recording(tmp_path / "long.npy", RATE, NAMES))
    assert read_signal(Recording(tmp_path / "long.npy", RATE, NAMES, 1.0, 3.0)).samples.shape == (3, 256)


def test_reading_warns_of_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((3, 4), 1e300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError, match="infinite"):
            read_signal(Recording(tmp_path / "a.npy", RATE, NAMES))
