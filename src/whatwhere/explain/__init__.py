"""What a network looks at: records of its gates, class activation maps, scores against objects, advice."""

from whatwhere.explain.cams import METHODS, Cam, Cams, cams
from whatwhere.explain.diagnose import diagnose
from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Explanation, Look, Network, Score, Shown, SiteLook
from whatwhere.explain.looking import explain
from whatwhere.explain.opening import embedded, open_network
from whatwhere.explain.pictures import Picture, Pictures, pictures
from whatwhere.explain.record import Record, SiteRecord, record
from whatwhere.explain.scores import Localisation
from whatwhere.explain.with_maps import WithMaps

__all__ = [
    "METHODS",
    "Cam",
    "Cams",
    "Diagnosis",
    "Explanation",
    "Localisation",
    "Look",
    "Network",
    "Picture",
    "Pictures",
    "Record",
    "Score",
    "Shown",
    "SiteLook",
    "SiteRecord",
    "WithMaps",
    "cams",
    "diagnose",
    "embedded",
    "explain",
    "open_network",
    "pictures",
    "record",
]
