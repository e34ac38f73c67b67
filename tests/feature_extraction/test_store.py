"""The folder of features: processes at once, kills, damage, limits. No network here."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from sklearn_gauss.feature_extraction._caching import _store
from sklearn_gauss.feature_extraction._caching._store import (
    FOLDER,
    FeatureStore,
    as_bytes,
)

# A store in another process; the file is run alone, which starts in a moment.
OTHER = f"""
import runpy, sys, time
import numpy as np
module = runpy.run_path({_store.__file__!r})
FeatureStore = module["FeatureStore"]
def key(i): return f"{{i:02x}}" * 20
def row(i): return np.arange(i, i + 50_000, dtype=np.float32)
"""


def key(i):
    return f"{i:02x}" * 20


def row(i, size=50_000):
    return np.arange(i, i + size, dtype=np.float32)


def start(code, folder, **options):
    command = [sys.executable, "-W", "error", "-c", OTHER + code, str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finish(*processes):
    ends = [process.communicate(timeout=60) for process in processes]
    assert not any(process.returncode for process in processes), ends
    return [output for output, _ in ends]


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path)


def entry(store, i):
    return store.folder / f"{key(i)}.features"


# ----------------------------------------------------------------- one process
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4, 5)])
def test_arrays_come_back_as_they_were(store, rng, shape):
    array = rng.normal(size=shape).astype(np.float32)
    store.put(key(1), array)
    got = store.get(key(1))
    assert got.dtype == np.float32
    assert got.shape == shape
    assert got.tobytes() == array.tobytes()
    assert store.get(key(2)) is None


def test_damaged_entries_count_as_absent(store):
    array = row(0, size=30)
    store.put(key(0), array)
    good = entry(store, 0).read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        entry(store, 0).write_bytes(bad)
        assert store.get(key(0)) is None, place
        entry(store, 0).write_bytes(good[:place])
        assert store.get(key(0)) is None, place
    entry(store, 0).write_bytes(good + b"\0")
    assert store.get(key(0)) is None
    store.put(key(0), array)
    np.testing.assert_array_equal(store.get(key(0)), array)


def test_an_entry_under_another_name_counts_as_absent(store):
    store.put(key(0), row(0))
    entry(store, 0).rename(entry(store, 1))
    assert store.get(key(1)) is None


def test_another_version_of_the_layout_is_ignored(store, monkeypatch):
    store.put(key(0), row(0))
    monkeypatch.setattr(_store, "_MAGIC", b"SGFEAT2\n")
    assert store.get(key(0)) is None


def test_clear_deletes_only_what_is_its_own(store, tmp_path):
    store.put(key(0), row(0))
    foreign = [
        tmp_path / "photo.png",
        tmp_path / f"{key(1)}.features",
        store.folder / "notes.txt",
        store.folder / "short.features",
    ]
    for path in foreign:
        path.write_bytes(b"mine")
    (store.folder / f"{'a' * 32}.part").write_bytes(b"half")
    assert store.count()[0] == 1
    store.clear()
    assert store.count() == (0, 0)
    assert store.get(key(0)) is None
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(foreign)
    FeatureStore(tmp_path / "never").clear()


def age(store, ages):
    """Set how long ago entries were last used."""
    now = time.time()
    for i, seconds in ages.items():
        os.utime(entry(store, i), (now - seconds, now - seconds))


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    size = 3000  # four disk blocks of 4 KiB with the header
    store = FeatureStore(tmp_path, limit=4 * 3 * 4096)
    for i in range(4):
        store.put(key(i), row(i, size))
    assert store.count() == (4, 4 * 3 * 4096)
    age(store, {0: 400, 1: 300, 2: 200, 3: 100})
    assert store.get(key(0)) is not None
    store.put(key(4), row(4, size))
    assert store.get(key(1)) is None
    assert store.get(key(0)) is not None
    assert store.get(key(4)) is not None
    assert store.count()[1] <= store.limit


def test_the_limit_holds_after_every_write(tmp_path):
    store = FeatureStore(tmp_path, limit=100 * 4096)
    for i in range(250):
        store.put(key(i), row(i, 100))
        assert store.count()[1] <= store.limit
    assert store.count()[0] >= 90
    np.testing.assert_array_equal(store.get(key(249)), row(249, 100))
    tight = FeatureStore(tmp_path, limit=1)
    tight.put(key(0), row(0, 100))
    assert tight.count() == (0, 0)


def test_files_are_not_counted_at_every_write(tmp_path, monkeypatch):
    scans = []
    files = FeatureStore._files
    monkeypatch.setattr(
        FeatureStore, "_files", lambda self: scans.append(1) or files(self)
    )
    for i in range(200):  # each with a store of its own, as clones have
        FeatureStore(tmp_path, limit=100 * 4096).put(key(i), row(i, 100))
    assert len(scans) < 60


def test_what_a_killed_writer_left_is_deleted_when_old(tmp_path):
    store = FeatureStore(tmp_path, limit=10 * 4096)
    store.folder.mkdir()
    old, new = (store.folder / f"{letter * 32}.part" for letter in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    store.put(key(0), row(0, 100))
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", 500),
        ("2K", 2048),
        ("500 MB", 500 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("1tb", 2**40),
    ],
)
def test_sizes(text, size):
    assert as_bytes(text, "cache_limit") == size


@pytest.mark.parametrize("text", ["", "much", "-1", "0", "5 XB", "1e9", "1 M B"])
def test_other_sizes_raise(text):
    with pytest.raises(ValueError, match="cache_limit="):
        as_bytes(text, "cache_limit")


def test_a_folder_that_cannot_be_made_warns_once(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = FeatureStore(tmp_path / "file")
    with pytest.warns(UserWarning, match="cache: features cannot be kept in"):
        store.put(key(0), row(0))
    store.put(key(1), row(1))  # no second warning, which would be an error
    FeatureStore(tmp_path / "file").put(key(1), row(1))
    assert store.get(key(0)) is None
    assert store.count() == (0, 0)
    with store.claim([key(0)]) as mine:
        assert mine == [key(0)]


def test_a_folder_cleared_in_the_middle_of_a_write_is_no_failure(store, monkeypatch):
    replace = os.replace

    def clear_first(part, path):
        store.clear()
        replace(part, path)

    monkeypatch.setattr(_store.os, "replace", clear_first)
    store.put(key(0), row(0))
    assert store.get(key(0)) is None
    monkeypatch.undo()
    store.put(key(0), row(0))
    assert store.get(key(0)) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_warns_once_and_leaves_nothing_behind(tmp_path):
    code = """
import resource, warnings
store = FeatureStore(sys.argv[1])
store.put(key(0), row(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    store.put(key(1), row(1))
    store.put(key(2), row(2))
print(len(caught), store.get(key(1)) is None, store.get(key(0)) is not None)
"""
    assert finish(start(code, tmp_path)) == ["1 True True\n"]
    assert [path.suffix for path in (tmp_path / FOLDER).iterdir()] == [".features"]


# --------------------------------------------------------------- several processes
def test_processes_may_write_read_and_delete_the_same_entries(tmp_path):
    code = """
store = FeatureStore(sys.argv[1], limit=60 * 50 * 4096)
found = 0
for i in range(400):
    number = i * 7 % 80
    got = store.get(key(number))
    if got is None:
        store.put(key(number), row(number))
    else:
        found += 1
        assert np.array_equal(got, row(number))
    if i % 40 == 20:
        store.clear()
print(found)
"""
    outputs = finish(*(start(code, tmp_path) for _ in range(3)))
    assert all(int(output) > 0 for output in outputs)
    store = FeatureStore(tmp_path)
    left = [i for i in range(80) if store.get(key(i)) is not None]
    assert left
    for i in left:
        np.testing.assert_array_equal(store.get(key(i)), row(i))


def test_a_kill_in_the_middle_of_writes_leaves_nothing_wrong(tmp_path, rng):
    code = """
store = FeatureStore(sys.argv[1])
with store.claim([key(0)]):
    print("ready", flush=True)
    while True:
        for i in range(50):
            store.put(key(i), row(i))
"""
    store = FeatureStore(tmp_path)
    for _ in range(6):
        process = start(code, tmp_path)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(rng.uniform(0.02, 0.15))
        process.kill()
        process.communicate()
        names = {path.stem for path in store.folder.glob("*.features")}
        assert names
        for i in range(50):
            got = store.get(key(i))
            assert (got is not None) == (key(i) in names)
            assert got is None or np.array_equal(got, row(i))
        started = time.monotonic()
        with store.claim([key(0)]):  # the lock went with its holder
            assert time.monotonic() - started < 5


def test_locks_exclude_processes_and_stores_of_one_process(tmp_path, monkeypatch):
    code = """
store = FeatureStore(sys.argv[1])
with store.claim([key(0), key(1)]) as mine:
    print(*mine, flush=True)
    sys.stdin.readline()
"""
    process = start(code, tmp_path, stdin=subprocess.PIPE)
    assert process.stdout.readline().split() == [key(0), key(1)]
    store = FeatureStore(tmp_path)
    with store.claim([key(0), key(2)]) as mine:
        assert mine == [key(2)]
    # One that hangs is not waited for without end.
    monkeypatch.setattr(_store, "PATIENCE", 0.1)
    with store.claim([key(0)]) as mine:
        assert mine == [key(0)]
    process.communicate("go on\n")
    monkeypatch.setattr(_store, "PATIENCE", 60)
    with store.claim([key(0)]), FeatureStore(tmp_path).claim([key(1)]) as mine:
        assert mine == [key(1)]


def test_a_claim_takes_one_share_and_leaves_the_rest(store, monkeypatch):
    monkeypatch.setattr(_store, "_SHARE", 10)
    keys = [f"{i:02x}" * 20 for i in range(64)]
    with store.claim(keys) as first, store.claim(keys) as second:
        assert len(first) == len(second) == 12
        assert not set(first) & set(second)
