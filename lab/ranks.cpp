#include "lab/ranks.hpp"

#ifdef EVICTLAB_WITH_MPI
// Only the C interface is used; mpi.h would bring the C++ one of old along.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <signal.h>
#endif

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <thread>

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/text.hpp"

namespace evictlab::lab {
namespace {

/// How many processes the launcher says it started: 1 without a launcher, 0 when it does not say.
///
/// Launchers are known by what they put into the environment, since MPI_Init without one takes half a second and may
/// fail; a process on its own never calls it. Open MPI's mpirun sets the first name, MPICH's mpiexec and srun
/// --mpi=pmi2 the second, every srun the third, whatever its --mpi; any PMIx launcher sets PMIX_RANK. The first that is
/// set counts: an mpirun inside an srun knows better.
std::int64_t launched_processes() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    const char* value = std::getenv(name);
    const std::int64_t count = value == nullptr ? 0 : core::parse_integer(value).value_or(0);
    if (count > 0) return count;
  }
  return std::getenv("PMIX_RANK") == nullptr ? 1 : 0;
}

std::string one_of(std::int64_t processes) {
  return processes > 0 ? fmt::format("started as one of {} processes", processes)
                       : std::string("started as one of several processes");
}

}  // namespace

#ifdef EVICTLAB_WITH_MPI

// Return codes of MPI are not looked at: on an error it prints what was wrong and ends the job, unless told otherwise.
namespace {

/// MPI_Init, after which SIGINT, SIGTERM and SIGPIPE do what they did before, whatever network library it loads.
void initialise() {
  constexpr std::array kOurs = {SIGINT, SIGTERM, SIGPIPE};
  std::array<struct sigaction, kOurs.size()> actions;
  for (std::size_t i = 0; i < kOurs.size(); ++i) sigaction(kOurs[i], nullptr, &actions[i]);
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  for (std::size_t i = 0; i < kOurs.size(); ++i) sigaction(kOurs[i], &actions[i], nullptr);
  if (provided < MPI_THREAD_FUNNELED) throw core::InputError("this MPI does not allow threads inside a rank");
}

/// Run by exit(): a process that leaves without the others, for whatever reason, takes them along.
void end_job_if_not_left(int code, void*) {
  int left = 0;
  MPI_Finalized(&left);
  if (left) return;
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, code != 0 ? code : 1);
}

}  // namespace

Ranks::Ranks() {
  const std::int64_t launched = launched_processes();
  if (launched == 1) return;
  int joined = 0;
  MPI_Initialized(&joined);
  if (joined) throw std::logic_error("a process joins its ranks once");
  initialise();
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &count_);
  const bool all_here = launched == 0 || launched == count_;
  if (!all_here || count_ == 1) MPI_Finalize();
  if (!all_here) {
    throw core::InputError(
        "{}, of which MPI sees {}: start evictlab by the mpirun it was built for, or by srun --mpi=pmix",
        one_of(launched), count_);
  }
  // Not atexit(): the job is to end with the code of this process.
  if (count_ > 1) on_exit(end_job_if_not_left, nullptr);
}

Ranks::~Ranks() {
  // The others may be waiting for this rank elsewhere, so leaving together could take for ever.
  if (count_ > 1 && std::uncaught_exceptions() == 0) MPI_Finalize();
}

void Ranks::wait_for_all() {
  if (count_ == 1) return;
  // MPI_Barrier would keep a core busy, for as long as the slowest rank needs, and would not see an interrupt.
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  for (int here = 0;;) {
    MPI_Test(&request, &here, MPI_STATUS_IGNORE);
    if (here) return;
    core::throw_if_interrupted();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

#else  // every process is on its own

Ranks::Ranks() {
  const std::int64_t launched = launched_processes();
  if (launched == 1) return;
  throw core::InputError("{}, but this evictlab was built without MPI: build it with libopenmpi-dev installed",
                         one_of(launched));
}

Ranks::~Ranks() = default;

void Ranks::wait_for_all() {}

#endif

void require_one_process(const std::string& command) {
  if (launched_processes() == 1) return;
  Ranks ranks;
  if (ranks.count() == 1) return;
  if (!ranks.first()) {
    try {
      ranks.wait_for_all();
    } catch (const core::Interrupted&) {
      std::_Exit(2);  // the first has said why; nothing was begun
    }
  }
  throw core::InputError(
      "{}: runs as one process, but {} were started; start it without mpirun or srun (sweep and validate share their "
      "work)",
      command, ranks.count());
}

void Ranks::wait_for_first() {
  others_wait_ = true;
  if (!first()) wait_for_all();
}

void Ranks::let_others_begin() {
  if (first() && others_wait_) wait_for_all();
  others_wait_ = false;
}

}  // namespace evictlab::lab
