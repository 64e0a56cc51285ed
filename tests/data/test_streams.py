import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from PIL import Image
from support.trees import CLASSES, foreign, tree

from whatwhere.data import Stream, load, write_shards
from whatwhere.data.readers import Readers
from whatwhere.data.shards import Sharded
from whatwhere.data.split import brightness
from whatwhere.errors import DataError, RunError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("stream") / "tree")


@pytest.fixture(scope="module")
def shards(folder):
    out = folder.parent / "shards"
    write_shards(folder, out, size_mb=0.03)
    assert len(list(out.glob("train-*.tar"))) > 2
    return out


@pytest.fixture(params=["folder", "shards"])
def splits(request):
    return load(f"stream:{request.getfixturevalue(request.param)}", image_size=16, workers=0)


def _whole(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def _rows(images):
    return [row.numpy().tobytes() for row in images.flatten(1)]


def test_a_stream_says_what_an_image_set_says(splits, folder):
    assert splits.classes == CLASSES
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [32, 4, 12]
    assert splits.train.shape == (3, 16, 16)
    assert splits.validation.labels.bincount().tolist() in ([1, 1, 2], [1, 2, 1], [2, 1, 1])
    assert splits.train.to("cpu").labels.tolist() == splits.train.labels.tolist()


def test_the_parts_share_no_image_and_leave_none_out(folder, shards):
    rows = {}
    for name in (folder, shards):
        splits = load(f"stream:{name}", image_size=16, workers=0)
        parts = [_rows(_whole(part.batches(5))[0]) for part in (splits.train, splits.validation, splits.test)]
        rows[name] = sorted(row for part in parts for row in part)
        assert len(set(rows[name])) == 48
    assert rows[folder] == rows[shards]


def test_an_epoch_shows_each_image_once_with_its_label(splits):
    images, labels = _whole(splits.train.epoch(seed=3, batch_size=8))
    assert images.shape == (32, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels.bincount().tolist() == splits.train.labels.bincount().tolist()
    assert labels.tolist() != splits.train.labels.tolist()


def test_epochs_differ_by_seed_and_repeat_by_seed(splits):
    one, same, other = (_whole(splits.train.epoch(seed=seed, batch_size=8)) for seed in (3, 3, 4))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])
    assert set(_rows(one[0])).isdisjoint(_rows(other[0]))  # other crops too, not only another order


@pytest.mark.parametrize("size", [8, 7], ids=["even", "odd"])
def test_two_processes_see_together_what_one_sees(splits, size):
    alone = list(splits.train.epoch(seed=3, batch_size=size))
    halves = [list(splits.train.epoch(seed=3, batch_size=size, rank=rank, world=2)) for rank in (0, 1)]
    for whole, first, second in zip(alone, *halves, strict=True):
        for i in (0, 1):
            assert torch.equal(whole[i], torch.cat([first[i], second[i]]))
        assert len(second[0]) - len(first[0]) in (0, 1)


def test_an_epoch_goes_on_in_the_middle(splits):
    whole = list(splits.train.epoch(seed=3, batch_size=8))
    rest = list(splits.train.epoch(seed=3, batch_size=8, first_step=2))
    assert len(rest) == 2
    for one, other in zip(whole[2:], rest, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert list(splits.train.epoch(seed=3, batch_size=8, first_step=4)) == []


def test_a_last_batch_of_one_image_is_left_out(splits):
    assert [len(labels) for _, labels in splits.train.epoch(seed=0, batch_size=31)] == [31]
    assert [len(labels) for _, labels in splits.train.epoch(seed=0, batch_size=30)] == [30, 2]
    assert len(list(splits.train.epoch(seed=0, batch_size=1))) == 32
    assert [len(labels) for _, labels in splits.train.epoch(seed=0, batch_size=100)] == [32]


@pytest.mark.parametrize("world", [1, 2, 5])
def test_evaluation_sees_each_image_once_over_all_processes(splits, world):
    alone, labels = _whole(splits.test.batches(100))
    shares = [_whole(splits.test.batches(3, rank=rank, world=world)) for rank in range(world)]
    assert torch.equal(torch.cat([images for images, _ in shares]), alone)
    assert torch.equal(torch.cat([labels for _, labels in shares]), labels)
    assert torch.equal(labels, splits.test.labels)


def test_no_random_number_of_the_caller_is_used(splits):
    state = torch.random.get_rng_state()
    list(splits.train.epoch(seed=3, batch_size=8))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_brightness_is_measured_on_the_training_images(splits, monkeypatch):
    images = _whole(splits.train.batches(100))[0]
    assert (splits.mean, splits.std) == brightness(images)
    monkeypatch.setattr("whatwhere.data.stream._MEASURED", 4)
    assert splits.train.brightness() == brightness(images[::8])


def test_limit_keeps_some_training_images_and_the_validation(folder):
    whole, few = (load(f"stream:{folder}", image_size=16, workers=0, limit=limit) for limit in (None, 6))
    assert few.train.labels.bincount().tolist() == [2, 2, 2]
    assert set(_rows(_whole(few.train.batches(9))[0])) < set(_rows(_whole(whole.train.batches(9))[0]))
    assert torch.equal(_whole(few.validation.batches(9))[0], _whole(whole.validation.batches(9))[0])


def test_imagenet_is_a_stream_under_the_root_tested_with_val(tmp_path):
    root = tree(tmp_path / "imagenet")
    (root / "test").mkdir()  # the published one has no labels
    splits = load("imagenet", root=tmp_path, image_size=16, workers=0)
    assert splits.name == "imagenet"
    assert len(splits.test) == 12
    assert (splits.mean, splits.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_names_carry_the_absolute_path(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert load("stream:tree", image_size=8, workers=0).name == f"stream:{folder.resolve()}"
    assert load("stream", root=folder, image_size=8, workers=0).name == f"stream:{folder.resolve()}"


def test_imagenet_that_is_not_there_is_asked_for(tmp_path):
    with pytest.raises(DataError) as caught:
        load("imagenet", root=tmp_path)
    assert str(caught.value) == (
        "load('imagenet'): the folder must hold 'train' and one of 'val' and 'test', each with a folder a class\n"
        f"  got: {tmp_path / 'imagenet'}: no such folder\n"
        "  fix: put ImageNet's 'train' and 'val' there, as folders or as shards, or name the folder above 'imagenet' "
        "by root="
    )


def test_workers_are_counted_from_none_up(folder):
    with pytest.raises(DataError) as caught:
        load(f"stream:{folder}", workers=-1)
    assert str(caught.value) == (f"load('stream:{folder}', workers=-1): workers is a number of processes, 0 or more")


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ({"batch_size": 0}, "epoch(batch_size=0, first_step=0, rank=0, world=1)"),
        ({"batch_size": 4, "first_step": -1}, "epoch(batch_size=4, first_step=-1, rank=0, world=1)"),
        ({"batch_size": 4, "rank": 2, "world": 2}, "epoch(batch_size=4, first_step=0, rank=2, world=2)"),
    ],
)
def test_arguments_out_of_range_are_refused_at_the_call(splits, wrong, first):
    with pytest.raises(DataError) as caught:
        splits.train.epoch(seed=0, **wrong)
    rule = "a batch has at least one image, steps count from 0, and a rank lies in [0, world)"
    assert str(caught.value) == f"{first}: {rule}"
    with pytest.raises(DataError):
        splits.train.batches(0)


def test_an_image_that_is_none_is_named_when_its_turn_comes(tmp_path):
    root = tree(tmp_path / "tree")
    splits = load(f"stream:{root}", image_size=16, workers=0)
    file = root / "val" / "bee" / "02.JPEG"
    file.write_bytes(file.read_bytes()[:-40])
    batches = splits.test.batches(2)
    assert len([next(batches) for _ in range(3)]) == 3
    with pytest.raises(DataError) as caught:
        next(batches)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"load('stream:{root}'): an image cannot be read"
    assert lines[1].startswith(f"  got: {file}: OSError: image file is truncated")
    assert lines[2] == "  fix: replace or delete the file"


def test_a_file_that_has_gone_is_named(tmp_path):
    root = tree(tmp_path / "tree")
    splits = load(f"stream:{root}", image_size=16, workers=0)
    file = root / "val" / "ant" / "00.JPEG"
    file.unlink()
    with pytest.raises(DataError) as caught:
        next(splits.test.batches(2))
    assert str(caught.value) == (
        f"load('stream:{root}'): '{file}' cannot be read\n"
        "  got: No such file or directory\n"
        "  fix: put it back where it was when the set was loaded, or load the set again"
    )


def test_an_empty_class_folder_and_other_classes_are_refused(tmp_path):
    root = tree(tmp_path / "tree")
    for file in (root / "train" / "bee").iterdir():
        file.unlink()
    with pytest.raises(DataError) as caught:
        load(f"stream:{root}")
    assert str(caught.value) == (
        f"load('stream:{root}'): a class folder holds no image\n"
        f"  got: {root / 'train' / 'bee'}\n"
        "  fix: put images there, or delete the class from every part"
    )
    (root / "train" / "bee").rmdir()
    with pytest.raises(DataError) as caught:
        load(f"stream:{root}")
    assert str(caught.value) == (
        f"load('stream:{root}'): 'val' must hold the class folders that 'train' holds\n"
        f"  got: {root / 'val'}: 1 in one of them only, such as 'bee'\n"
        "  fix: give both parts the same class folders"
    )


def _sharded(shards, each, labels=None):
    count = shards * each
    labels = torch.arange(count) % 3 if labels is None else labels
    columns = torch.arange(count) % each * 100, torch.full((count,), 100), labels
    return Sharded([f"{i}" for i in range(shards)], torch.arange(shards).repeat_interleave(each), *columns)


def test_the_order_of_shards_is_a_permutation_read_in_blocks_of_a_few_shards():
    source = _sharded(40, 50)
    order = source.order(torch.Generator().manual_seed(0))
    assert order.sort().values.tolist() == list(range(2000))
    follows = (order[1:] == order[:-1] + 1).float().mean()
    assert 0.8 < follows < 0.9  # seven of eight, but for the ends of shards
    opened = [set(source.shard[order[start : start + 800]].tolist()) for start in (0, 800)]
    assert [len(each) for each in opened] == [16, 16]
    assert not opened[0] & opened[1]
    assert torch.equal(order, source.order(torch.Generator().manual_seed(0)))
    other = source.order(torch.Generator().manual_seed(1))
    assert not torch.equal(order, other)
    begins = [set((each[1:][each[1:] != each[:-1] + 1] % 50).tolist()) for each in (order, other)]
    assert len(begins[0] | begins[1]) == 50  # blocks begin anywhere


def test_shards_sorted_by_class_are_shuffled_image_by_image():
    source = _sharded(10, 50, (torch.arange(500) // 100))
    order = source.order(torch.Generator().manual_seed(0))
    assert order.sort().values.tolist() == list(range(500))
    assert (order[1:] == order[:-1] + 1).float().mean() < 0.05


def test_part_of_a_shard_is_ordered_too():
    source = _sharded(3, 20).take(torch.tensor([0, 5, 21, 22, 23, 59]))
    order = source.order(torch.Generator().manual_seed(0))
    assert order.sort().values.tolist() == list(range(6))
    assert source.places(torch.tensor([5, 0]))[0] == ("2", 1900, 100)


def test_other_processes_read_the_same(shards):
    here, there = (load(f"stream:{shards}", image_size=16, workers=workers) for workers in (0, 1))
    for _ in range(2):  # a second time with the same process
        for one, other in zip(
            here.train.epoch(seed=3, batch_size=8), there.train.epoch(seed=3, batch_size=8), strict=True
        ):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
    assert len(multiprocessing.active_children()) == 1


def test_two_walks_at_once_do_not_disturb_each_other(shards):
    here, there = (load(f"stream:{shards}", image_size=16, workers=workers) for workers in (0, 1))
    train, test = there.train.epoch(seed=3, batch_size=4), there.test.batches(4)
    both = [(next(train), next(test)) for _ in range(3)]
    alone = zip(here.train.epoch(seed=3, batch_size=4), here.test.batches(4), strict=False)
    for ours, theirs in zip(both, alone, strict=True):
        for (images, labels), (other, others) in zip(ours, theirs, strict=True):
            assert torch.equal(images, other)
            assert torch.equal(labels, others)


def test_an_error_in_another_process_keeps_its_words(tmp_path):
    root = tree(tmp_path / "tree")
    splits = load(f"stream:{root}", image_size=16, workers=1)
    (root / "val" / "ant" / "01.JPEG").write_bytes(b"text")
    with pytest.raises(DataError) as caught:
        list(splits.test.batches(4))
    assert str(caught.value).splitlines()[0] == f"load('stream:{root}'): an image cannot be read"
    assert str(caught.value).splitlines()[1] == (
        f"  got: {root / 'val' / 'ant' / '01.JPEG'}: UnidentifiedImageError: it is of no kind that Pillow knows, "
        "or breaks off in its header"
    )
    assert len(list(splits.train.epoch(seed=0, batch_size=16))) == 2  # the process is still good


def test_a_killed_process_ends_the_walk_and_the_next_one_has_another(shards):
    splits = load(f"stream:{shards}", image_size=16, workers=1)
    known = {child.pid for child in multiprocessing.active_children()}
    batches = splits.train.epoch(seed=3, batch_size=4)
    next(batches)
    (started,) = (child for child in multiprocessing.active_children() if child.pid not in known)
    os.kill(started.pid, signal.SIGKILL)
    with pytest.raises(RunError) as caught:
        list(batches)
    assert str(caught.value) == (
        f"load('stream:{shards}'): a process that reads images was ended from outside, or could not start\n"
        "  got: 1 such processes; the system ends one when memory or /dev/shm is full\n"
        "  fix: fewer processes (workers=) or a smaller batch; your own script needs `if __name__ == '__main__':`"
    )
    assert len(list(splits.train.epoch(seed=3, batch_size=4))) == 8


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(shards):
    script = textwrap.dedent(f"""
        import multiprocessing, os, signal
        from whatwhere.data import load
        if __name__ == "__main__":
            next(load("stream:{shards}", image_size=8, workers=1).test.batches(4))
            print(multiprocessing.active_children()[0].pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    file = shards.parent / "dies.py"
    file.write_text(script)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    for _ in range(1000):
        if not _alive(pid):
            return
        signal.sigtimedwait([], 0.01)
    pytest.fail(f"process {pid} lives on")


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("cpus", "local", "workers"), [(16, None, 15), (16, "4", 3), (1, None, 1), (2, "2", 1)])
def test_the_usual_number_of_processes(monkeypatch, cpus, local, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if local:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    assert Readers("load('stream')", 8).workers == workers


def test_to_gives_the_batches_elsewhere_and_leaves_the_stream(folder):
    train = load(f"stream:{folder}", image_size=8, workers=0).train
    moved = train.to("meta")
    images, labels = next(moved.epoch(seed=0, batch_size=4))
    assert (images.device.type, labels.device.type) == ("meta", "meta")
    assert next(train.batches(4))[0].device.type == "cpu"
    assert isinstance(moved, Stream)


def test_shards_of_others_are_streamed(tmp_path):
    splits = load(f"stream:{foreign(tmp_path)}", image_size=16, workers=0, validation=0.5)
    assert splits.classes == ("0", "1", "2")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [3, 3, 3]
    assert splits.test.labels.tolist() == [0, 1, 2]


def test_files_other_than_jpeg_are_read(tmp_path):
    root = tree(tmp_path / "tree")
    Image.new("L", (20, 30), 9).save(root / "val" / "ant" / "00.png")
    splits = load(f"stream:{root}", image_size=8, workers=0)
    assert next(splits.test.batches(2))[0][1].unique().tolist() == [9]
