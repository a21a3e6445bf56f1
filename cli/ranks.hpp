#pragma once

namespace evictlab::cli {

/// The processes of one job that share out a command's work: ranks 0 .. count-1 under mpirun or srun, rank 0 of 1
/// otherwise (or in a build without MPI). One object per process, made and used by its main thread, after
/// core::install_interrupt_handler().
///
/// The member functions that say "every rank" wait until every rank has called them, so all ranks call them in the
/// same order. A rank that cannot go on must therefore not return past the others: it throws, as any command does.
/// When the exception has passed this object and the process exits (cli::run() prints the message and returns the
/// code), the whole job is ended with that code and no rank is left waiting. What every rank would find wrong alike
/// is best looked for by the first while the others wait, so that it is said once.
class Ranks {
 public:
  /// Joins the ranks that the launcher started. Throws core::InputError when there are several processes but they
  /// cannot be joined: each would do all of the work.
  Ranks();
  /// Every rank: leaves the job. After an exception: leaves the others to be ended when this process exits.
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return rank_; }
  int count() const { return count_; }
  bool first() const { return rank_ == 0; }

  /// Every rank: returns when all have come here. Takes no processor time from ranks that still work.
  /// Throws core::Interrupted.
  void wait_for_all();

 private:
  int rank_ = 0;
  int count_ = 1;
};

}  // namespace evictlab::cli
