"""Why some printed figures are not what is counted here, as far as is known."""

from collections.abc import Mapping

from whatwhere.papers.rows import Row

__all__ = ["REASONS", "Key", "reason"]

Key = tuple[str, str, str, str]  # table, printed host, label, figure

_NO_BIASES = "without the biases of norms and classifier"
_BAMS = "is BAM's in table 3b of the BAM paper"
_TABLES_2_4 = "tables 2 and 4 print ours"

REASONS: Mapping[Key, str] = {
    ("bam/1a", "ResNet50", "baseline", "parameters"): f"tables 2 and 3 print ours; 23.68 is the count {_NO_BIASES}",
    ("bam/1c", "ResNet50", "baseline", "parameters"): f"tables 2 and 3 print ours; 23.68 is the count {_NO_BIASES}",
    ("bam/1c", "ResNet50", "ResBlock", "parameters"): f"25.14 is the count {_NO_BIASES}",
    ("bam/1c", "WRN28 (w=8)", "BAM", "parameters"): "tables 2, 3 and 5 print ours; 23.56 is the count with reduction=4",
    ("bam/1c", "ResNeXt29 8x64d", "baseline", "parameters"): (
        f"tables 2 and 3 print 34.52, which is ours; {_NO_BIASES} it is 34.49, which 34.4 cuts off"
    ),
    ("bam/3b", "MobileNet (ρ=192/224)", "baseline at 192", "gmacs"): (
        "not explained; 0.439 would be the count if the last maps had 7 px, as they have at 224, and not 6"
    ),
    ("bam/3b", "MobileNet (ρ=192/224)", "BAM at 192", "gmacs"): (
        "not explained; with last maps of 7 px it would be 0.454"
    ),
    ("bam/3b", "SqueezeNet v1.1", "baseline", "gmacs"): (
        "not explained; the parameters agree, and without the classifier it would be 0.263"
    ),
    ("bam/3b", "SqueezeNet v1.1", "BAM", "gmacs"): (
        "not explained, as the bare host; the paper's BAM adds 0.014, ours 0.020, and 0.013 without the first"
    ),
    ("bam/5", "ResNeXt29 16x64d", "SE", "parameters"): (
        "not explained; 68.81 would be the count with two more SE gates, at the ends of the first two stages"
    ),
    ("cbam/1", "ResNet50", "AvgPool (SE)", "parameters"): f"{_TABLES_2_4}; 25.92 {_BAMS}",
    ("cbam/1", "ResNet50", "AvgPool (SE)", "gmacs"): f"{_TABLES_2_4}; 3.94 {_BAMS}",
    ("cbam/1", "ResNet50", "MaxPool", "parameters"): f"as many as with AvgPool; 25.92 {_BAMS}",
    ("cbam/1", "ResNet50", "MaxPool", "gmacs"): f"as many as with AvgPool; 3.94 {_BAMS}",
    ("cbam/1", "ResNet50", "AvgPool & MaxPool", "parameters"): f"table 2 prints ours; 25.92 {_BAMS}",
    ("cbam/1", "ResNet50", "AvgPool & MaxPool", "gmacs"): "4.02 is the bare host and twice what BAM adds in its paper",
    ("cbam/2", "ResNet50", "channel", "gmacs"): (
        "3.860 is SE's, with one pool; two run the perceptron twice, without which the rows with k=3 and 7 do not agree"
    ),
    ("cbam/2", "ResNet50", "channel + spatial (1x1 conv, k=3)", "gmacs"): (
        "the paper's row with k=7 agrees (3.869), and k=3 saves only 0.0006 of it"
    ),
    ("cbam/5", "MobileNet (α=0.7)", "SE", "parameters"): (
        "2.7047 in full; 2.71 is the count with the hidden units C / 16 rounded to the nearest (2.710), not down"
    ),
    ("cbam/7", "MobileNet StairNet", "CBAM", "parameters"): (
        "not explained; the host's details are not published, and 5.99107 in full is 6.00 with 3,926 more"
    ),
}


def reason(row: Row, figure: str) -> str:
    """Why the 'parameters' or 'gmacs' of a row are not the printed ones; '' where they are, or nothing is known."""
    return REASONS.get((f"{row.paper}/{row.table}", row.printed_host, row.label, figure), "")
