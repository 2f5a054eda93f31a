// Command layer_peer writes DIR to FILE as builders in Go write a layer: archive/tar, compress/gzip at level 6,
// both digests, one pass.
package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: layer_peer DIR FILE")
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func write(root, name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	compressed, err := gzip.NewWriterLevel(io.MultiWriter(file, sha256.New()), 6)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(io.MultiWriter(compressed, sha256.New()))
	if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return add(archive, root, path, entry)
	}); err != nil {
		return err
	}
	for _, each := range []io.Closer{archive, compressed, file} {
		if err := each.Close(); err != nil {
			return err
		}
	}
	return nil
}

func add(archive *tar.Writer, root, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	if header.Name, err = filepath.Rel(root, path); err != nil {
		return err
	}
	header.ModTime = time.Unix(0, 0)
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(archive, content)
	return err
}
