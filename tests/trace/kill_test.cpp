#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <random>
#include <set>
#include <thread>

#include "sample.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/parts_directory.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/verify.hpp"
#include "trace/io/writer.hpp"

// Recordings that are killed at random moments, while writing and while merging. How many is told by the
// environment variable EVICTLAB_KILLS.

namespace evictlab::trace {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kPrompts = 12;

std::string id_of(std::uint32_t prompt) { return "prompt " + std::to_string(prompt); }

Sample sample_of(std::uint32_t prompt) {
  Sample sample;
  sample.tier = prompt % 2 == 0 ? Tier::kFull : Tier::kSummary;
  return sample;
}

// Records all prompts that are not there yet, reports each finished one as a byte, and merges.
void record(const fs::path& path, int report) {
  WriterOptions options;
  options.path = path;
  TraceWriter writer(options, sample_model());
  for (Index layer = 0; layer < 3; ++layer) writer.write_output_weight(layer, sample_output_weight(layer));
  for (std::uint32_t i = 0; i < kPrompts; ++i) {
    if (writer.contains(id_of(i))) continue;
    writer.write_prompt(sample_prompt(id_of(i), i, sample_of(i)));
    const char byte = static_cast<char>(i);
    if (::write(report, &byte, 1) != 1) return;
  }
  writer.finish();
}

// Starts a recording of its own process and kills it after a while, if it has not ended. Adds the prompts
// that it reported finished.
void record_and_kill(const fs::path& path, std::chrono::microseconds patience, std::set<std::uint32_t>& reported) {
  int channel[2];
  ASSERT_EQ(::pipe2(channel, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      record(path, channel[1]);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "the recording failed: %s\n", error.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  ::close(channel[1]);
  std::this_thread::sleep_for(patience);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  char byte = 0;
  while (::read(channel[0], &byte, 1) == 1) reported.insert(static_cast<std::uint32_t>(byte));
  ::close(channel[0]);
}

void expect_all_there(const fs::path& path, const std::set<std::uint32_t>& reported) {
  const fs::path trace = fs::exists(path) ? path : parts_directory(path);
  if (reported.empty() && !fs::exists(trace / kModelPart)) return;  // killed before it had begun
  EXPECT_THAT(verify_trace(trace), ::testing::IsEmpty());
  const TraceReader reader(trace);
  for (const std::uint32_t prompt : reported) {
    const auto found = std::ranges::find(reader.prompts(), id_of(prompt), &PromptInfo::id);
    ASSERT_NE(found, reader.prompts().end()) << "finished prompt " << prompt << " is lost";
    const Index number = found - reader.prompts().begin();
    const MemoryTrace::Prompt expected = sample_prompt(id_of(prompt), prompt, sample_of(prompt));
    EXPECT_EQ(reader.tokens(number), expected.tokens);
    expect_equal(reader.layer(number, 1, expected.info.recorded()), expected.layers[1]);
  }
}

int kills() {
  const char* asked = std::getenv("EVICTLAB_KILLS");
  return asked == nullptr ? 5 : std::atoi(asked);
}

std::chrono::microseconds time_of_a_recording(const fs::path& path) {
  const auto start = std::chrono::steady_clock::now();
  int channel[2];
  EXPECT_EQ(::pipe2(channel, O_CLOEXEC), 0);
  record(path, channel[1]);
  ::close(channel[0]);
  ::close(channel[1]);
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
}

TEST(KilledRecording, LosesAtMostThePromptItWasIn) {
  const testing::TemporaryDirectory directory;
  const std::chrono::microseconds whole = time_of_a_recording(directory / "timed.h5");
  std::mt19937 random(11);
  int recording = 0;
  for (int done = 0; done < kills(); ++recording) {
    const fs::path path = directory / (std::to_string(recording) + ".h5");
    std::set<std::uint32_t> reported;
    // The same recording is killed and taken up again until it is merged.
    while (!fs::exists(path) && done < kills()) {
      const auto patience =
          std::chrono::microseconds(whole.count() * static_cast<std::int64_t>(random() % 1200) / 1000);
      record_and_kill(path, patience, reported);
      expect_all_there(path, reported);
      if (HasFailure()) return;
      ++done;
    }
  }
}

TEST(KilledRecording, AMergeThatIsKilledLosesNothing) {
  const testing::TemporaryDirectory directory;
  std::mt19937 random(12);
  WriterOptions kept;
  kept.path = directory / "t.h5";
  kept.keep_parts = true;
  {
    TraceWriter writer(kept, sample_model());
    for (Index layer = 0; layer < 3; ++layer) writer.write_output_weight(layer, sample_output_weight(layer));
    for (std::uint32_t i = 0; i < kPrompts; ++i) writer.write_prompt(sample_prompt(id_of(i), i, sample_of(i)));
    writer.finish();
  }
  std::set<std::uint32_t> all;
  for (std::uint32_t i = 0; i < kPrompts; ++i) all.insert(i);
  for (int done = 0; done < kills(); ++done) {
    // Everything is recorded: what is killed is the merge, the rename or the removal of the parts.
    const fs::path path = directory / (std::to_string(done) + ".h5");
    fs::copy(parts_directory(kept.path), parts_directory(path));
    std::set<std::uint32_t> reported;
    record_and_kill(path, std::chrono::microseconds(random() % 60000), reported);
    EXPECT_TRUE(reported.empty());
    expect_all_there(path, all);
    if (HasFailure()) return;
    fs::remove_all(parts_directory(path));
    fs::remove(path);
  }
}

// A full disk looks the same to the writer as a limit on the size of files: some write fails.
[[noreturn]] void record_within(const fs::path& path, rlim_t limit) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit files{limit, limit};
  ::setrlimit(RLIMIT_FSIZE, &files);
  try {
    record(path, ::open("/dev/null", O_WRONLY | O_CLOEXEC));
  } catch (const core::InputError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::exit(2);
  }
  std::exit(0);
}

TEST(FullDisk, IsOneClearLineAndAnOrderlyExit) {
  const testing::TemporaryDirectory directory;
  int kept = 0;
  // The limits stop, in turn, the model's part, the prompts' parts, and the merge.
  for (const rlim_t limit : {1000U, 10000U, 30000U, 70000U, 200000U}) {
    SCOPED_TRACE(limit);
    const fs::path path = directory / (std::to_string(limit) + ".h5");
    EXPECT_EXIT(record_within(path, limit), ::testing::ExitedWithCode(2), "h5.*: File too large");
    EXPECT_FALSE(fs::exists(path));
    EXPECT_FALSE(fs::exists(path.string() + ".tmp"));
    if (!fs::exists(parts_directory(path))) continue;
    EXPECT_THAT(verify_trace(parts_directory(path)), ::testing::IsEmpty());
    ++kept;
  }
  EXPECT_GE(kept, 1);
}

}  // namespace
}  // namespace evictlab::trace
