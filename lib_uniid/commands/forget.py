"""``uniid forget``: permanently erase encodings of pictures and all people in the bin."""

from argparse import Namespace

from lib_uniid.commands import Outcome
from lib_uniid.commands.people import encodings, people_folder
from lib_uniid.library.forgetting import forget


def run(options: Namespace) -> Outcome:
    """With a name, that person is deleted too; without one, enrolled people stay."""
    gone = forget(people_folder(options), encodings(options), options.name)
    people = [one.name for one in gone.people]
    words = [f"erased: the encodings of {gone.encodings} pictures", *(f"erased: {name}" for name in people)]
    return Outcome(result={"people": people, "encodings": gone.encodings}, words=words)
