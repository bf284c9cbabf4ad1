"""One desk and one bundle for each file; the tests work on copies."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.audit.sharing import Audited, sharing
from tests.audit.world import Desk
from tests.ledger.world import Folder
from tests.rules import build
from tests.rules.build import World


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let kernels share compiled code also where Python is told to keep none: each imports for seconds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if sys.dont_write_bytecode:
            monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
            monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A ledger of twelve entries."""
    made = Desk(tmp_path_factory.mktemp("desk"), build.build(tmp_path_factory.mktemp("officers")))
    made.live()
    return made


@pytest.fixture(scope="module")
def genuine(desk: Desk) -> Folder:
    """The bundle of the whole ledger; nobody changes it."""
    return desk.bundle()


@pytest.fixture
def copy(genuine: Folder, tmp_path: Path) -> Callable[[], Folder]:
    """Return a copy of the bundle to be changed."""

    def made() -> Folder:
        return Folder(Path(shutil.copytree(genuine.path, tmp_path / "bundle")))

    return made


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A desk whose treasury five co-signers share."""
    return sharing(tmp_path_factory.mktemp("officers"))


@pytest.fixture
def audited(people: World, tmp_path: Path) -> Iterator[Audited]:
    """A ledger that begins with the set in force."""
    made = Audited(Desk(tmp_path / "desk", people))
    policy = people.policy
    made.tell("policy.adopted", {"manifest": policy.manifest.dump()}, policy.digest)
    yield made
    made.desk.ledger.close()
