"""The people who were enrolled: custody of their templates, and enrolment."""

from edge_agent.people.custody import Custody, Known, custody_of
from edge_agent.people.sealing import Enrolled, PeopleError

__all__ = ["Custody", "Enrolled", "Known", "PeopleError", "custody_of"]
