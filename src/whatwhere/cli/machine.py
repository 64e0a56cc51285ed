"""What a command that trains may use of this machine and of others."""

import os
from dataclasses import dataclass

__all__ = ["Machine"]

# Far beyond this the system refuses threads in the middle of the work, and the process dies of it.
_MOST_THREADS = 1024


@dataclass(frozen=True)
class Machine:
    """Options of every command that trains."""

    devices: int | None = None
    """Processes a machine that train each trial together, one a GPU; None: one, or what torchrun or SLURM started."""
    num_nodes: int | None = None
    """Machines that train each trial together, started by torchrun or SLURM's srun; None: what these say."""
    threads: int | None = None
    """CPU threads, of all processes on this machine; None: torch's choice."""
    log: str | None = None
    """Where else to show the epochs: tensorboard, wandb, or both with a comma between."""
    quiet: bool = False
    """Show no progress, only the table."""

    @property
    def loggers(self) -> tuple[str, ...]:
        """The names in ``log``."""
        return tuple(name.strip() for name in (self.log or "").split(",") if name.strip())

    def begin(self, verb: str) -> int | None:
        """Set the threads, and become one of several processes or start them.

        Args:
            verb: the command, for messages.

        Returns:
            None to go on in this process; else the exit status of those that were started.

        Raises:
            RunError: a number is below one, or the environment and the options contradict each other.
        """
        from whatwhere.errors import RunError
        from whatwhere.train.launch import launch

        if self.threads is not None:
            import torch

            if self.threads < 1:
                raise RunError(f"{verb} --threads: there must be at least one thread", got=f"--threads {self.threads}")
            if self.threads > _MOST_THREADS:
                rule = f"{verb} --threads: there can be {_MOST_THREADS} threads at most"
                raise RunError(rule, got=f"--threads {self.threads}", fix="as many as the machine has cores, or fewer")
            together = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that share this machine's threads
            torch.set_num_threads(max(1, self.threads // together))
        return launch(self.devices, self.num_nodes)
