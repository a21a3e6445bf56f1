#pragma once

namespace evictlab::plots {

// report.mustache, style.css and script.js of this folder.
extern const char* const kReportTemplate;
extern const char* const kReportStyle;
extern const char* const kReportScript;

}  // namespace evictlab::plots
