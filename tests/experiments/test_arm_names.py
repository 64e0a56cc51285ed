"""Arms by name: what they say, and what they may not."""

import pytest

from whatwhere.errors import RunError
from whatwhere.experiments.arm_names import ArmName, default_place, parse_arm, with_budget
from whatwhere.experiments.spec import Comparison


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("none", ArmName("none")),
        ("bam", ArmName("bam")),
        ("bam:combine=product@blocks", ArmName("bam:combine=product", "blocks")),
        ("bam/frozen", ArmName("bam", None, "frozen")),
        (r"cbam:kernel_size=3@layer\d/identity", ArmName("cbam:kernel_size=3", r"layer\d", "identity")),
        ("extra_block", ArmName("extra_block")),
        ("extra_block@stages", ArmName("extra_block", "stages")),
        ("wider", ArmName("wider")),
        ("deeper:parameters=276091", ArmName("deeper", parameters=276_091)),
    ],
)
def test_names_are_read(text, found):
    assert parse_arm(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bam/frosen",
            "arm 'bam/frosen': a start is 'preset', 'identity' or 'frozen'\n"
            "  closest: 'frozen', 'preset'\n"
            "  fix: write GATE[:option=value][@PLACE][/START], for example bam:combine=product@blocks/identity",
        ),
        (
            "bam@",
            "arm 'bam@': there is no place after the @\n"
            "  fix: leave the @ out, or write GATE[:option=value][@PLACE][/START], for example "
            "bam:combine=product@blocks/identity",
        ),
        ("none/identity", "arm 'none/identity': only gates have a start\n  got: /identity\n  fix: write 'none'"),
        ("wider@blocks", "arm 'wider@blocks': 'wider' has no place\n  got: @blocks\n  fix: write 'wider'"),
        (
            "extra_block:n=2",
            "arm 'extra_block:n=2': 'extra_block' has no options\n  got: n=2\n  fix: write 'extra_block'",
        ),
        (
            "wider:width=2",
            "arm 'wider:width=2': 'wider' has one option, the parameters of the whole network\n"
            "  got: width=2\n"
            "  fix: write wider:parameters=276091, or wider alone for those of the first gate",
        ),
    ],
)
def test_what_a_name_cannot_say_is_refused(text, message):
    with pytest.raises(RunError) as caught:
        parse_arm(text)
    assert str(caught.value) == message


def test_places():
    assert [default_place(gate) for gate in ("none", "wider", "extra_block", "bam", "cbam:order=parallel")] == [
        *(None, None),
        *("bottlenecks", "bottlenecks"),
        "blocks",
    ]


def test_a_budget_is_given_to_those_who_wait_for_one():
    arms = ("none", "wider", "deeper:parameters=7", "bam")
    assert [with_budget(arm, 9) for arm in arms] == ["none", "wider:parameters=9", "deeper:parameters=7", "bam"]


def test_a_trial_takes_place_and_start_from_the_name_first():
    asked = Comparison("resnet8", (), "scenes", at="stages", start="identity")
    arms = ("bam", "bam@blocks/frozen", "extra_block", "wider:parameters=9", "none")
    found = {arm: asked.trial(arm, 0) for arm in arms}
    assert [(spec.gate, spec.at, spec.start) for spec in found.values()] == [
        ("bam", "stages", "identity"),
        ("bam", "blocks", "frozen"),
        ("extra_block", "bottlenecks", "preset"),
        ("wider:parameters=9", None, "preset"),
        ("none", None, "preset"),
    ]
    assert found["wider:parameters=9"].name.startswith("wider-parameters=9-seed0-")
