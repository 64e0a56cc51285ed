"""One table of a paper as trials to run: which arms of which hosts fill which of its rows."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from whatwhere.attach.sites import PLACES
from whatwhere.errors import RunError, closest
from whatwhere.experiments import Comparison
from whatwhere.experiments.arm_names import YARDSTICK, default_place
from whatwhere.papers.profiles import Profile, Setting, setting
from whatwhere.papers.rows import Row, rows
from whatwhere.train import Recipe

__all__ = ["Part", "Reproduction", "reproduction"]

# Sets whose images are held in memory in a size of their own.
_SMALL_DATA = ("cifar10", "cifar100", "fashion-mnist", "scenes")
_USUAL_SIZE = 224
# Detectors whose trunk torchvision has no weights of: they start fresh.
_FRESH = ("ssd300-mobilenet", "stairnet300-mobilenet")


@dataclass(frozen=True)
class Part:
    """The trials of one host.

    Args:
        folder: where its summary goes, inside the table's folder.
        comparison: all its arms, "none" among them.
        rows: the table's rows that it fills, each with the name of its arm.
    """

    folder: str
    comparison: Comparison
    rows: tuple[tuple[Row, str], ...]


@dataclass(frozen=True)
class Reproduction:
    """A table and how it is filled.

    Args:
        table: its name, such as "bam/1b".
        title: what it is about.
        profile: how it is trained.
        parts: one for each host.
        unverified: what the profile takes for the paper's and no source confirms.
        chosen: the words that chose its rows; "" for all of them.
    """

    table: str
    title: str
    profile: Profile
    parts: tuple[Part, ...]
    unverified: tuple[str, ...] = ()
    chosen: str = ""

    @property
    def folder(self) -> str:
        """A name for its folder, another one for other rows: what is corrected over some is not what is over all."""
        return _file_name(f"{self.table}-{self.chosen}" if self.chosen else self.table)

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """What is not the paper's, in words: hosts, data, sizes, epochs."""
        return tuple(dict.fromkeys(words for part in self.parts for words in _stand_ins(part)))

    def only(self, wanted: str) -> "Reproduction":
        """The rows of which a word in ``wanted`` (separated by commas) is the host, the arm or the label.

        Words are regular expressions and must match the whole. "none" stays in every part as the yardstick.

        Raises:
            RunError: a word matches no row, or is no regular expression.
        """
        words = [word.strip() for word in wanted.split(",") if word.strip()]
        call = f"reproduce({self.table!r}, rows={wanted!r})"
        if not words:
            raise RunError(f"{call}: there must be at least one row", fix="leave rows out for all of them")
        pairs = [pair for part in self.parts for pair in part.rows]
        for word in words:
            if not any(_matches(call, word, *pair) for pair in pairs):
                names = dict.fromkeys(name for pair in pairs for name in _names(*pair))
                raise RunError(
                    f"{call}: no row goes by {word!r}",
                    closest=closest(word, names),
                    fix=f"a host, an arm or a label of the table: {', '.join(names)}",
                )
        parts = []
        for part in self.parts:
            chosen = tuple(pair for pair in part.rows if any(_matches(call, word, *pair) for word in words))
            if chosen:
                arms = dict.fromkeys((YARDSTICK, *(arm for _, arm in chosen)))
                parts.append(replace(part, comparison=replace(part.comparison, gates=tuple(arms)), rows=chosen))
        return replace(self, parts=tuple(parts), chosen=wanted)

    def with_arms(self, arms: Sequence[str]) -> "Reproduction":
        """The same with further arms for every host, such as equal-budget controls, which no paper has figures for."""

        def more(part: Part) -> Part:
            gates = tuple(dict.fromkeys((*part.comparison.gates, *arms)))
            return replace(part, comparison=replace(part.comparison, gates=gates))

        return replace(self, parts=tuple(more(part) for part in self.parts))


def reproduction(
    table: str,
    title: str,
    profile: Profile = "paper",
    *,
    host: str | None = None,
    data: str | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    limit: int | None = None,
) -> Reproduction:
    """The trials that fill ``table`` under ``profile``.

    Args:
        table: a name of ``rows``.
        title: what it is about.
        profile: as in ``setting``.
        host: stands in for the host of every row; likewise ``data``, ``seeds``, ``epochs`` and ``limit``.

    Raises:
        RunError: no such table or profile, or a value out of its range.
    """
    found = rows(table)
    base = setting(found[0].dataset, profile)
    chosen = replace(
        base,
        data=data or base.data,
        host=host or base.host,
        seeds=base.seeds if seeds is None else seeds,
        limit=base.limit if limit is None else limit,
        image_size=None if data in _SMALL_DATA and base.data not in _SMALL_DATA else base.image_size,
        recipe=base.recipe if epochs is None else _shortened(base.recipe, epochs),
    )
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in found:
        key = chosen.host or _own_host(row, chosen), _image_size(row, chosen)
        groups.setdefault(key, []).append(row)
    parts = tuple(_part(*key, group, chosen) for key, group in groups.items())
    return Reproduction(table, title, profile, parts, base.unverified)


def _shortened(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe over other epochs; its warm-up keeps its share."""
    return replace(recipe, epochs=epochs, warmup_epochs=recipe.warmup_epochs * epochs / recipe.epochs)


def _own_host(row: Row, chosen: Setting) -> str:
    """The row's host; a detector with the setting's options, weights among them where there are any."""
    return row.host if not row.detection or row.host in _FRESH else row.host + chosen.options


def _plain(host: str) -> str:
    return host.partition(":")[0]


def _image_size(row: Row, chosen: Setting) -> int | None:
    """The row's own size where the data can have it, which the small sets cannot; the setting's changes it in step.

    Detectors have the setting's.
    """
    if row.detection:
        return chosen.image_size
    if chosen.data in _SMALL_DATA:
        return None
    if chosen.image_size is None or row.image_size is None:
        return row.image_size
    return round(row.image_size * chosen.image_size / _USUAL_SIZE)


def _part(host: str, image_size: int | None, group: Sequence[Row], chosen: Setting) -> Part:
    pairs = tuple((row, _arm(row, host)) for row in group)
    comparison = Comparison(
        host,
        tuple(dict.fromkeys((YARDSTICK, *(arm for _, arm in pairs)))),
        chosen.data,
        seeds=chosen.seeds,
        recipe=chosen.recipe,
        start=chosen.start,
        limit=chosen.limit,
        image_size=image_size,
        task="detect" if group[0].detection else "classify",
    )
    name = "-".join(str(word) for word in (host, chosen.data, image_size) if word is not None)
    return Part(_file_name(name), comparison, pairs)


def _file_name(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-.")[:100]


def _arm(row: Row, host: str) -> str:
    """The arm at the row's place; at the gate's own where that is told in modules that a stand-in does not have."""
    own = row.at in (None, default_place(row.arm)) or _has_not(host, row)
    return row.arm if own else f"{row.arm}@{row.at}"


def _has_not(host: str, row: Row) -> bool:
    return _plain(host) != row.host and row.at is not None and row.at not in PLACES


def _stand_ins(part: Part) -> Iterator[str]:
    run = part.comparison
    first = part.rows[0][0]
    published = setting(first.dataset, "paper")
    for row, _ in part.rows:
        if row.host != _plain(run.host):
            yield f"{run.host} stands in for {_printed(row)}"
        elif run.host in _FRESH:
            yield f"{run.host} starts from fresh weights: torchvision has none of its trunk"
        if _has_not(run.host, row):
            yield f"{row.arm} at {default_place(row.arm)} of {run.host}, not at {row.at}"
    if run.data != published.data:
        yield f"{run.data} stands in for {published.data}"
    if run.limit is not None:
        yield f"{run.limit:,} training images of all"
    own = published.image_size if first.detection else first.image_size
    if run.data == published.data and run.image_size not in (None, own):
        yield f"images of {run.image_size} pixels"
    if run.recipe.epochs != published.recipe.epochs:
        yield f"{run.recipe.epochs} epochs, not {published.recipe.epochs}"


def _printed(row: Row) -> str:
    """What the paper calls the host; on COCO it names the trunk alone."""
    return f"Faster R-CNN with {row.printed_host}" if row.dataset == "coco" else row.printed_host


def _matches(call: str, word: str, row: Row, arm: str) -> bool:
    try:
        return any(re.fullmatch(word, name) for name in _names(row, arm))
    except re.error as error:
        raise RunError(f"{call}: {word!r} is no regular expression", got=str(error)) from error


def _names(row: Row, arm: str) -> tuple[str, ...]:
    return row.host, row.printed_host, arm, row.label
