package webapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// Entry is one execution of a request. It is written when the whole request has been read and
// before the reply or its delay begins.
type Entry struct {
	Time      time.Time `json:"time"`
	Host      string    `json:"host"`
	Method    string    `json:"method"`
	ID        string    `json:"id"`
	Execution string    `json:"execution"`
	Digest    string    `json:"digest"` // of the reply's body; of the request's for an upload
	Size      int64     `json:"size"`   // bytes of the same
	Key       string    `json:"key,omitempty"`
	Attempt   string    `json:"attempt,omitempty"`
}

// Journal appends entries to a file, each by one write, so that lines of several writers do
// not mix and a killed writer leaves whole lines. Safe for concurrent use.
type Journal struct{ file *os.File }

// OpenJournal opens the file for appending. An empty path keeps no journal.
func OpenJournal(path string) (*Journal, error) {
	if path == "" {
		return &Journal{}, nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{f}, nil
}

// Add appends one entry.
func (j *Journal) Add(e Entry) error {
	if j.file == nil {
		return nil
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	return nil
}

// Close closes the file.
func (j *Journal) Close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// ReadJournal returns the entries of one file, oldest first. A file that is not there has
// none.
func ReadJournal(path string) ([]Entry, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var entries []Entry
	for line := range bytes.Lines(text) {
		if line[len(line)-1] != '\n' {
			break // being written just now: a reader can see a part of one write
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read journal %s, line %d: %w", path, len(entries)+1, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
