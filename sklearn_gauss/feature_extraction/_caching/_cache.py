"""Features by content: what was extracted once is read back from a folder.

A key is the hash of an image's content, of how it is read, and of the network.
"""

import hashlib
import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import joblib
import numpy as np

from sklearn_gauss.feature_extraction._caching._store import FeatureStore, as_bytes
from sklearn_gauss.feature_extraction._lifecycle import frozen
from sklearn_gauss.feature_extraction._reading._files import (
    check_length,
    explained,
    stream,
)
from sklearn_gauss.feature_extraction._reading._images import MAX_PIXELS
from sklearn_gauss.feature_extraction._reading._kinds import (
    is_drawn,
    is_encoded,
    is_path,
    is_pil,
    is_tensor,
    undrawn,
)
from sklearn_gauss.feature_extraction._reading._pixels import tensor_to_array

__all__ = ["CacheInfo", "CacheMixin", "CachedExtraction", "open_store"]

# Images whose contents are hashed before the missing ones among them are read again, from
# what the system keeps of files in memory.
_BLOCK = 1024

# Reading and hashing release the interpreter.
_THREADS = min(4, os.cpu_count() or 1)


class CacheInfo(NamedTuple):
    """What a cache did for an extractor, and what its folder holds of all of them.

    Attributes
    ----------
    hits : int
        Images whose features were read back, copies within one call included.
    misses : int
        Images that went through the network.
    entries : int
        Features in the folder, of all extractors that share it.
    bytes : int
        Their size on the disk, in blocks of 4 KiB.
    """

    hits: int
    misses: int
    entries: int
    bytes: int


def open_store(cache, limit):
    """Return the store of the parameters ``cache`` and ``cache_limit``, or None."""
    limit = as_bytes(limit, "cache_limit")
    if isinstance(cache, joblib.Memory):
        if cache.location is not None and cache.backend != "local":
            raise ValueError(f"cache={cache!r}: only a local folder can be used.")
        cache = cache.location
    if cache is None:
        return None
    folder = os.fspath(cache)
    if not folder:
        raise ValueError("cache='' names no folder; None switches the cache off.")
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(f"cache={folder!r} is a file; give a folder.")
    return FeatureStore(folder, limit)


class _NotKeyed(Exception):
    """Raised where a network cannot be told apart from others; its text says why."""


class CacheMixin:
    """The parameters ``cache`` and ``cache_limit`` of an extractor, and their methods."""

    def cache_info(self):
        """Count what the cache gave and what it holds.

        Returns
        -------
        info : CacheInfo
            A named tuple: ``hits`` and ``misses``, the images read back and extracted
            by this object since ``fit`` (or unpickling); ``entries`` and ``bytes`` in
            the folder, of all extractors that share it. Zeros without a cache.
        """
        store = self._check_cache()
        counts = getattr(self, "_cache_counts", Counter())
        held = (0, 0) if store is None else store.count()
        return CacheInfo(counts["hits"], counts["misses"], *held)

    def clear_cache(self):
        """Delete all features in the folder ``cache``, and nothing else in it.

        Returns
        -------
        self : object
            The extractor.
        """
        store = self._check_cache()
        if store is not None:
            store.clear()
        return self

    def _check_cache(self):
        return open_store(self.cache, self.cache_limit)

    def _start_cache(self):
        """At fit: count from nought, and keep the network's key beside the features."""
        self._cache_counts = Counter()
        self._network_key = None
        self._is_keyed = True
        if self._check_cache() is not None:
            try:
                self._find_key()
            except _NotKeyed as reason:
                self._go_without(reason)

    def _go_without(self, reason):
        self._is_keyed = False
        warnings.warn(
            f"cache={self.cache!r} is not used: the "
            f"backbone's attribute {str(reason)!r} cannot be told apart from others.",
            UserWarning,
            stacklevel=5,
        )

    def _find_key(self):
        """Hash of the network in use; it is kept, to read back without a network."""
        from sklearn_gauss.feature_extraction._backbones import _fingerprint

        try:
            key = _fingerprint.network_key(self._ready_network())
        except _fingerprint.CannotTellApart as reason:
            raise _NotKeyed(*reason.args) from None
        self._network_key = self._use(), key
        return key

    def _known_key(self):
        use, key = getattr(self, "_network_key", None) or (None, None)
        return key if use == self._use() else None

    def _use(self):
        return frozen((self.device, self.precision))

    def _extract_through_cache(self, images, read):
        store = self._check_cache()
        if store is not None and getattr(self, "_is_keyed", True):
            try:
                return self._extract_with(store, images, read)
            except _NotKeyed as reason:
                self._go_without(reason)
        return self._run(images, read, self.verbose)

    def _extract_with(self, store, images, read):
        cached = CachedExtraction(
            store,
            read=read,
            run=partial(self._run, verbose=0),
            model=self._known_key(),
            build=self._find_key,
            verbose=self.verbose or getattr(self.cache, "_verbose", 0),
        )
        features = cached(images)
        if not hasattr(self, "_cache_counts"):  # after unpickling
            self._cache_counts = Counter()
        self._cache_counts += cached.counts
        return features


class CachedExtraction:
    """One extraction through a store.

    Parameters
    ----------
    store : FeatureStore
        Where features are kept.
    read : functools.partial
        Reads an image (``read(image, name=...)``); its keywords belong to the keys.
    run : callable
        ``run(images, read)`` returns the features of images, NaN for unreadable ones.
    model : str or None
        Hash of the network, where it is known without building it.
    build : callable
        Builds the network and returns its hash.
    verbose : int
        Whether to print how many images were extracted so far.

    Attributes
    ----------
    counts : Counter
        ``hits`` and ``misses``.
    """

    def __init__(self, store, *, read, run, model, build, verbose=0):
        self.store = store
        self.read = read
        self.run = run
        self.model = model
        self.build = build
        self.verbose = verbose
        self._reading = repr(sorted(read.keywords.items()))

    def __call__(self, images):
        """Features of images, one row an image."""
        self._images = images
        self._features = None
        self._places = {}  # of contents whose features are in hand
        self.counts = Counter(hits=0, misses=0)
        for start in range(0, len(images), _BLOCK):
            contents = self._hash_all(range(start, min(start + _BLOCK, len(images))))
            self.model = self.model or self.build()
            missing = self._look_up(contents)
            if missing and self.model != (model := self.build()):
                # After unpickling the network may be on another device, or of other
                # versions. One call gives the features of one network.
                self.model = model
                return self(images)
            self._extract(missing)
        return self._features

    def _hash_all(self, places):
        """Contents by place, None for what has none; images of PIL are not shared."""
        is_lazy = {place: is_pil(undrawn(self._images[place])) for place in places}
        lazy = [place for place in places if is_lazy[place]]
        eager = [place for place in places if not is_lazy[place]]
        with ThreadPoolExecutor(_THREADS) as pool:
            contents = dict(zip(eager, pool.map(self._hash, eager), strict=True))
        contents |= {place: self._hash(place) for place in lazy}
        return {place: contents[place] for place in places}

    def _hash(self, place):
        try:
            return self._load(place, decode=False)[0]
        except Exception:  # whatever it is, reading the image for its features says it
            return None

    def _load(self, place, *, decode):
        """Return an image's content and, if asked for, its pixels, from one reading."""
        return self._load_source(self._images[place], f"X[{place}]", decode)

    def _load_source(self, source, name, decode):
        if is_drawn(source):
            below, pixels = self._load_source(source.image, name, decode)
            if below is not None:
                below = _hash_of(b"drawn", below.encode(), source.drawing.encode())
            return below, source.draw_on(pixels) if decode else None
        if is_path(source) or is_encoded(source):
            name = str(source) if is_path(source) else name
            data = self._bytes(source, name)
            pixels = self.read(data, name=name) if decode else None
            return _hash_of(b"file", data), pixels
        pixels = None
        if decode or is_pil(source):
            pixels = self.read(source, name=name)
        if is_pil(source):  # orientation, palette and transparency are in the pixels
            return _hash_of_array(b"pixels", pixels), pixels
        if is_tensor(source):
            return _hash_of_array(b"tensor", tensor_to_array(source)), pixels
        return _hash_of_array(b"array", np.asarray(source)), pixels

    def _bytes(self, source, name):
        """Bytes of a file, refused as they are for reading."""
        max_pixels = self.read.keywords.get("max_pixels", MAX_PIXELS)
        with explained(name), stream(source, name) as file:
            check_length(file, name, max_pixels)
            return file.read()

    def _key(self, content):
        text = "\n".join((self.model, self._reading, content))
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def _look_up(self, contents):
        """Fill in what is known; return the places of each content that is missing."""
        missing = {}
        for place, content in contents.items():
            if content in missing or not self._fill(place, content):
                missing.setdefault(content, []).append(place)
        return missing

    def _fill(self, place, content):
        """Whether a row could be filled in without the network."""
        if content is None:
            return False
        if content in self._places:
            row = self._features[self._places[content]]
        else:
            row = self.store.get(self._key(content))
        if row is None:
            return False
        self._set(place, content, row)
        self.counts["hits"] += 1
        return True

    def _set(self, place, content, row):
        if self._features is None:
            shape = (len(self._images), *row.shape)
            self._features = np.full(shape, np.nan, np.float32)
        self._features[place] = row
        if content is not None:
            self._places.setdefault(content, place)

    def _extract(self, missing):
        """Extract what is missing, each content by one worker: the others wait for it."""
        self._run(missing.pop(None, ()))
        while missing:
            keys = {self._key(content): content for content in missing}
            with self.store.claim(keys) as mine:
                claimed = [keys[key] for key in mine]
                first = {content: missing[content].pop(0) for content in claimed}
                # Another worker may have been here since the first look.
                self._run([p for c, p in first.items() if not self._fill(p, c)])
            for content in claimed:
                # Left over are copies of what could not be read or was changed.
                copies = missing.pop(content)
                left = [place for place in copies if not self._fill(place, content)]
                if left:
                    missing[content] = left

    def _run(self, places):
        """Run the network; keep each row under the content that it was read from."""
        if not places:
            return
        contents = {}

        def read(place, name=None):
            contents[place], pixels = self._load(place, decode=True)
            return pixels

        rows = self.run(places, read)
        self.counts["misses"] += len(places)
        if self.verbose:
            done, total = self.counts["misses"], len(self._images)
            print(f"[CNNFeatureExtractor] {done} of {total} images extracted")
        for place, row in zip(places, rows, strict=True):
            content = contents.get(place) if np.isfinite(row).all() else None
            self._set(place, content, row)
            if content is not None:
                self.store.put(self._key(content), row)


def _hash_of(kind, *pieces):
    digest = hashlib.sha256(kind)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _hash_of_array(kind, array):
    """Hash of values, type and shape; None for arrays that hold references."""
    array = np.ascontiguousarray(array)
    if array.dtype.hasobject:
        return None
    head = f"{array.dtype.str} {array.shape}\n"
    return _hash_of(kind, head.encode(), array.reshape(-1).view(np.uint8))
