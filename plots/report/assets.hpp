#pragma once

namespace evictlab::plots {

// report.mustache, table.mustache, style.css, tables.js and look.js of this folder.
extern const char* const kReportTemplate;
extern const char* const kTableTemplate;
extern const char* const kReportStyle;
extern const char* const kTablesScript;
extern const char* const kLookScript;

}  // namespace evictlab::plots
