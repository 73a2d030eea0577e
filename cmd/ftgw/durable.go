package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// spareSuffix names the file beside a durable one that is written next. It is there before it
// is needed, so that a disk that bodies have filled keeps no node from claiming.
const spareSuffix = ".spare"

// spareBytes is what a spare file holds room for, at least.
const spareBytes = 4096

// reserveFile makes sure that the file is there, else with that text, and so is its spare.
func reserveFile(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make state_dir: %w (set state_dir to a directory that this user may write)", err)
	}
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		err = replaceFile(path, text)
	}
	if err == nil {
		err = makeSpare(path)
	}
	if err != nil {
		return fmt.Errorf("reserve room in state_dir: %w (make room in %s)", err, dir)
	}
	return nil
}

func makeSpare(path string) error {
	if i, err := os.Stat(path + spareSuffix); err == nil && i.Size() > 0 {
		return nil
	}
	return overwrite(path+spareSuffix, make([]byte, spareBytes))
}

// replaceFile puts text on disk before it returns: a whole file or the old one, never half of
// it. The spare takes the file's place and the old file becomes the spare.
func replaceFile(path, text string) error {
	spare := path + spareSuffix
	if err := overwrite(spare, []byte(text)); err != nil {
		return err
	}
	exchanged := unix.Renameat2(unix.AT_FDCWD, spare, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	if exchanged != nil { // there is no old file, or the file system cannot
		if err := os.Rename(spare, path); err != nil {
			return err
		}
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil || exchanged == nil {
		return err
	}
	// The file is there; without a spare only the next one needs room.
	_ = makeSpare(path)
	return nil
}

// overwrite writes in place, where the room is.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
