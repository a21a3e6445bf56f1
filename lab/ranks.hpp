#pragma once

#include <string>

namespace evictlab::lab {

/// The processes of one job that share out a command's work: ranks 0 .. count-1 under mpirun or srun, rank 0 of 1
/// otherwise (or in a build without MPI). One object per process, used by its main thread alone, after
/// core::install_interrupt_handler().
///
/// The member functions that say "every rank" wait until every rank has called them, so all ranks call them in the
/// same order. A rank that fails must therefore not return before the others: it throws, as any use case does.
/// When the exception has passed this object and the process exits with the code that the exception stands for, the
/// whole job is ended with that code and no rank is left waiting. What every rank would find wrong alike is best looked
/// for by the first while the others wait (wait_for_first()), so that it is said once.
class Ranks {
 public:
  /// Joins the ranks that the launcher started. Throws core::InputError when there are several processes but they
  /// cannot be joined: each would do all of the work.
  Ranks();
  /// A process that shares its work with no other, whatever launcher started it.
  static Ranks alone() { return Ranks(Alone{}); }
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

  /// Every rank, where the first is to find alone what all would find wrong alike: the others wait here until the
  /// first calls let_others_begin().
  void wait_for_first();
  /// Every rank may call it any number of times: does nothing in the others, nor where none waits.
  void let_others_begin();

 private:
  struct Alone {};
  explicit Ranks(Alone) {}

  int rank_ = 0;
  int count_ = 1;
  bool others_wait_ = false;
};

/// For a command that is one process's work: throws core::InputError when the launcher started several, which would all
/// do it and get into each other's way. Only the first says so; the others wait to be ended with it.
void require_one_process(const std::string& command);

}  // namespace evictlab::lab
