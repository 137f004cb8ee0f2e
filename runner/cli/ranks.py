"""Processes that a launcher of many starts with the same command: each would train the same run."""

import os

from runner.settings.errors import ConfigError

#: (how many there are, which of them this is) of torchrun and Kubernetes, of srun's step, of Open MPI, of MPICH and
#: Intel MPI. SLURM's variables of a whole job are set in a batch script too, which runs once.
WORLDS = (
    ("WORLD_SIZE", "RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
)


def refuse() -> None:
    """Raise ConfigError in a process that is one of several with the same command."""
    for size, rank in WORLDS:
        count = os.environ.get(size, "")
        if rank in os.environ and count.isdecimal() and int(count) > 1:
            raise ConfigError(
                f"{size}={count}",
                f"runner trains a run in one process, and {count} would each train the same; start it once, without"
                f" torchrun, srun -n or mpirun (hydra/launcher=joblib runs jobs of a sweep at once), or unset {size}",
            )
