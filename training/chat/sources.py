"""The source documents of the chat prompts, by task: functions that yield them from the folder that training/chat-texts
unpacks packages into."""

import literature
import reference

SOURCES = {
    "needle": literature.austen,
    "key-value": reference.word_lists,
    "multi-document": reference.questions,
    "summary": literature.proceedings,
    "continuation": literature.books,
    "few-shot": reference.definitions,
    "code": reference.code,
    "dialogue": literature.sherlock,
    "long-copy": reference.manuals,
}
