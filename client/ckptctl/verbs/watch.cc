#include <algorithm>

#include "client/ckptctl/json.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string run;
  std::string interval = "1s";
  std::string lines = "10";
  bool all = false;
};

constexpr size_t kPage = 100;

bool IsNews(Event::Kind kind) {
  switch (kind) {
    case Event::Kind::kCommitted:
    case Event::Kind::kRemoved:
    case Event::Kind::kRestored:
    case Event::Kind::kDamaged:
    case Event::Kind::kHealed:
    case Event::Kind::kAttempt:
    case Event::Kind::kTimeline:
    case Event::Kind::kResumed:
    case Event::Kind::kLoadFailed:
    case Event::Kind::kRunDeleted:
      return true;
    default:
      return false;
  }
}

void Show(Session& session, const Event& event) {
  if (session.json()) {
    // One object a line, so that a reader need not wait for the end.
    session.Print(ToJson(event).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  } else {
    session.Print(fmt::format("{}  {:<12}  {}{}\n", TimeText(event.at, absl::LocalTimeZone()),
                              EventKindName(event.kind),
                              event.checkpoint_id != 0 ? fmt::format("step {}: ", event.step) : "",
                              Printable(event.text, 1000)));
  }
  fflush(stdout);
}

// Events after `last`, oldest first.
absl::StatusOr<std::vector<Event>> EventsAfter(Client& daemon, const RunName& run, uint64_t last) {
  ASSIGN_OR_RETURN(std::vector<Event> events, daemon.ListEvents(run, 0, kPage));
  // More happened than a page holds.
  if (events.size() == kPage && events.back().id > last + 1) {
    ASSIGN_OR_RETURN(events, daemon.ListEvents(run));
  }
  std::erase_if(events, [&](const Event& event) { return event.id <= last; });
  std::reverse(events.begin(), events.end());
  return events;
}

absl::Status Watch(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const RunName run, session.ParseRun(options.run));
  ASSIGN_OR_RETURN(const absl::Duration interval, ParseDuration(options.interval));
  ASSIGN_OR_RETURN(const uint64_t lines, ParseCount("--lines", options.lines));
  if (interval < absl::Milliseconds(10)) {
    return BadField("--interval", "--interval must be at least 10ms");
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  RETURN_IF_ERROR(daemon->GetRun(run).status());
  const Session::Transfer interruptible;

  ASSIGN_OR_RETURN(std::vector<Event> events, daemon->ListEvents(run, 0, kPage));
  uint64_t last = events.empty() ? 0 : events.front().id;
  if (!options.all) std::erase_if(events, [](const Event& e) { return !IsNews(e.kind); });
  if (events.size() > lines) events.resize(lines);
  for (auto event = events.rbegin(); event != events.rend(); ++event) Show(session, *event);

  bool lost = false;
  while (!session.cancel().WaitFor(interval)) {
    absl::StatusOr<std::vector<Event>> news = EventsAfter(*daemon, run, last);
    if (!news.ok()) {
      if (news.status().code() != absl::StatusCode::kUnavailable) return news.status();
      if (!lost) session.Note("The daemon does not answer; trying on.");
      lost = true;
      continue;
    }
    if (lost) session.Note("The daemon is back.");
    lost = false;
    for (const Event& event : *news) {
      last = std::max(last, event.id);
      if (options.all || IsNews(event.kind)) Show(session, event);
    }
  }
  return absl::OkStatus();  // interrupting is how it ends
}

}  // namespace

void AddWatch(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      session.AddVerb(app, "watch", "Follows a run's commits and removals, a line each",
                      [options](Session& s) { return Watch(s, *options); });
  verb->add_option("RUN", options->run, "RUN or PROJECT/RUN")->required();
  verb->add_flag("-a,--all", options->all, "Every event, also pins, loads, metrics");
  verb->add_option("-n,--lines", options->lines, "How many of the past to begin with")
      ->type_name("N")
      ->capture_default_str();
  verb->add_option("--interval", options->interval, "How often to look")
      ->type_name("TIME")
      ->capture_default_str();
}

}  // namespace ckpt::ctl
