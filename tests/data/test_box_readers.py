import multiprocessing
import os
import signal

import pytest
import torch
from support.detection_files import coco_content, write_coco

from whatwhere.data.box_readers import BoxReaders
from whatwhere.data.box_transforms import Augmentation
from whatwhere.data.detection_loading import load_detection
from whatwhere.data.detection_parts import targets
from whatwhere.errors import DataError, RunError

CALL = "load_detection('coco')"
JOBS = [[(0, 1), (2, 5)], [(1, 9)], [(5, 3), (4, 2), (2, 6)], [(3, 8)]]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("boxes"), val=coco_content(12, first=100))


@pytest.fixture(scope="module")
def part(root):
    return load_detection(f"coco:{root}").test


def _same(one, other):
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_samples_are_the_images_and_their_targets(part):
    walked = list(BoxReaders(CALL, 0).walk(part, JOBS, Augmentation()))
    assert [len(samples) for samples in walked] == [2, 1, 3, 1]
    for samples, job in zip(walked, JOBS, strict=True):
        for sample, (index, _) in zip(samples, job, strict=True):
            assert _same(sample, (part.image(index), *targets(part, index)))
    assert walked[2][1].boxes.shape == (0, 4)  # a crowd alone
    assert walked[2][1].labels.dtype == torch.int64


def test_chance_is_that_of_the_seeds(part):
    augmentation = Augmentation("ssd", 20)
    for samples, job in zip(BoxReaders(CALL, 0).walk(part, JOBS, augmentation), JOBS, strict=True):
        for sample, (index, seed) in zip(samples, job, strict=True):
            assert _same(sample, augmentation(part.image(index), *targets(part, index), seed))


def test_other_processes_read_the_same_and_draw_nothing_here(part):
    here, there = BoxReaders(CALL, 0), BoxReaders(CALL, 1)
    state = torch.random.get_rng_state()
    for _ in range(2):
        pairs = zip(*(readers.walk(part, JOBS, Augmentation("scale")) for readers in (here, there)), strict=True)
        for ours, theirs in pairs:
            assert all(_same(*pair) for pair in zip(ours, theirs, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_images_in_memory_need_no_process():
    part = load_detection("scenes", image_size=48).test
    known = len(multiprocessing.active_children())
    walked = list(BoxReaders(CALL, 2).walk(part, JOBS, Augmentation("flip")))
    assert len(multiprocessing.active_children()) == known
    assert _same(walked[1][0], Augmentation("flip")(part.image(1), *targets(part, 1), 9))


def test_an_error_in_another_process_keeps_its_words(tmp_path):
    root = write_coco(tmp_path)
    part = load_detection(f"coco:{root}").test
    file = root / "images" / "val2017" / "0101.jpg"
    file.unlink()
    readers = BoxReaders(CALL, 1)
    with pytest.raises(DataError) as caught:
        list(readers.walk(part, JOBS, Augmentation()))
    assert str(caught.value).splitlines()[0] == f"{CALL}: '{file}' cannot be read"
    assert len(list(readers.walk(part, JOBS[:1], Augmentation()))) == 1  # the process is still good


def test_a_killed_process_ends_the_walk_and_the_next_one_has_another(part):
    readers = BoxReaders(CALL, 1)
    known = {child.pid for child in multiprocessing.active_children()}
    walk = readers.walk(part, JOBS * 4, Augmentation())
    next(walk)
    (started,) = (child for child in multiprocessing.active_children() if child.pid not in known)
    os.kill(started.pid, signal.SIGKILL)
    with pytest.raises(RunError) as caught:
        list(walk)
    assert str(caught.value) == (
        f"{CALL}: a process that reads images was ended from outside, or could not start\n"
        "  got: 1 such processes; the system ends one when memory or /dev/shm is full\n"
        "  fix: fewer processes (workers=) or a smaller batch; your own script needs `if __name__ == '__main__':`"
    )
    assert len(list(readers.walk(part, JOBS, Augmentation()))) == 4
