"""Gates into hosts: find the sites, put gates there, take them out, keep the host's checkpoints valid."""

from whatwhere.attach.folding import Folding, fold_norms, unfold_norms
from whatwhere.attach.gated import Gated
from whatwhere.attach.plan import Plan, plan
from whatwhere.attach.sites import Site
from whatwhere.attach.status import status
from whatwhere.attach.storage import load_gates, save_gates
from whatwhere.attach.surgery import attach_, detach_, disabled, host_state_dict

__all__ = [
    "Folding",
    "Gated",
    "Plan",
    "Site",
    "attach_",
    "detach_",
    "disabled",
    "fold_norms",
    "host_state_dict",
    "load_gates",
    "plan",
    "save_gates",
    "status",
    "unfold_norms",
]
