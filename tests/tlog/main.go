// A second opinion on transparency logs: Go's golang.org/x/mod/sumdb, from which the specifications grew, reads what
// Holdpoint wrote. Each line of standard input is a question in JSON, each line of standard output its answer.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Do      string
	Note    string
	Keys    []string
	Dir     string
	Size    int64
	Old     int64
	Index   int64
	Leaf    string
	Root    string
	OldRoot string
	Proof   []string
	Indexes []int64
	Sizes   []int64
}

type answer struct {
	OK          bool
	Why         string     `json:",omitempty"`
	Size        int64      `json:",omitempty"`
	Root        string     `json:",omitempty"`
	Inclusion   [][]string `json:",omitempty"`
	Consistency [][]string `json:",omitempty"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var q question
		var a answer
		err := json.Unmarshal(in.Bytes(), &q)
		if err == nil {
			err = q.answer(&a)
		}
		if a.OK = err == nil; !a.OK {
			a.Why = err.Error()
		}
		if err := out.Encode(a); err != nil {
			panic(err)
		}
	}
}

func (q *question) answer(a *answer) error {
	switch q.Do {
	case "note":
		_, err := open([]byte(q.Note), q.Keys)
		return err
	case "inclusion":
		proof, hashes, err := parse(q.Proof, q.Root, q.Leaf)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, q.Size, hashes[0], q.Index, hashes[1])
	case "consistency":
		proof, hashes, err := parse(q.Proof, q.Root, q.OldRoot)
		if err != nil {
			return err
		}
		return tlog.CheckTree(tlog.TreeProof(proof), q.Size, hashes[0], q.Old, hashes[1])
	case "folder":
		return q.folder(a)
	}
	return errors.New("no such question")
}

func parse(proof []string, others ...string) (tlog.RecordProof, []tlog.Hash, error) {
	var all []tlog.Hash
	for _, text := range append(append([]string{}, others...), proof...) {
		hash, err := tlog.ParseHash(text)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, hash)
	}
	return tlog.RecordProof(all[len(others):]), all[:len(others)], nil
}

func open(text []byte, keys []string) (*note.Note, error) {
	var verifiers []note.Verifier
	for _, key := range keys {
		verifier, err := verifierOf(key)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, verifier)
	}
	return note.Open(text, note.VerifierList(verifiers...))
}

// A log's key is known to the library, a witness's is not.
func verifierOf(text string) (note.Verifier, error) {
	if log, err := note.NewVerifier(text); err == nil {
		return log, nil
	}
	parts := strings.Split(text, "+")
	if len(parts) < 3 {
		return nil, errors.New("no key")
	}
	key, err := base64.StdEncoding.DecodeString(strings.Join(parts[2:], "+"))
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, errors.New("no key of a witness")
	}
	digest := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	id := binary.BigEndian.Uint32(digest[:])
	if fmt.Sprintf("%08x", id) != parts[1] {
		return nil, errors.New("the key's number is another")
	}
	return &cosigner{parts[0], id, key[1:]}, nil
}

type cosigner struct {
	name string
	id   uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.id }
func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	seconds := binary.BigEndian.Uint64(sig)
	signed := append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", seconds)), msg...)
	return ed25519.Verify(c.key, signed, sig[8:])
}

// Reads a whole log: its checkpoint, every tile on the way to every entry, and every entry.
func (q *question) folder(a *answer) error {
	signed, err := os.ReadFile(filepath.Join(q.Dir, "checkpoint"))
	if err != nil {
		return err
	}
	opened, err := open(signed, q.Keys)
	if err != nil {
		return err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return errors.New("the checkpoint has not three lines")
	}
	if a.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return err
	}
	a.Root = lines[2]
	folder := &folder{q.Dir}
	hashes := tlog.TileHashReader(tlog.Tree{N: a.Size, Hash: root}, folder)
	if err := folder.entries(a.Size, hashes); err != nil {
		return err
	}
	for _, index := range q.Indexes {
		proof, err := tlog.ProveRecord(a.Size, index, hashes)
		if err != nil {
			return err
		}
		a.Inclusion = append(a.Inclusion, texts(proof))
	}
	for _, size := range q.Sizes {
		proof, err := tlog.ProveTree(a.Size, size, hashes)
		if err != nil {
			return err
		}
		a.Consistency = append(a.Consistency, texts(proof))
	}
	return nil
}

func texts(hashes []tlog.Hash) []string {
	all := []string{}
	for _, hash := range hashes {
		all = append(all, hash.String())
	}
	return all
}

// The library's tiles lie under their height and call entries data.
type folder struct{ dir string }

func (f *folder) Height() int { return 8 }

func (f *folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f *folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		path = strings.Replace(path, "tile/data/", "tile/entries/", 1)
		read, err := os.ReadFile(filepath.Join(f.dir, path))
		if err != nil {
			return nil, err
		}
		all = append(all, read)
	}
	return all, nil
}

func (f *folder) entries(size int64, hashes tlog.HashReader) error {
	for first := int64(0); first < size; first += 256 {
		width := size - first
		if width > 256 {
			width = 256
		}
		read, err := f.ReadTiles([]tlog.Tile{{H: 8, L: -1, N: first / 256, W: int(width)}})
		if err != nil {
			return err
		}
		bundle := bytes.NewReader(read[0])
		for index := first; index < first+width; index++ {
			var length uint16
			if err := binary.Read(bundle, binary.BigEndian, &length); err != nil {
				return err
			}
			entry := make([]byte, length)
			if n, err := bundle.Read(entry); n != int(length) && err != nil {
				return err
			}
			expected, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			if err != nil {
				return err
			}
			if tlog.RecordHash(entry) != expected[0] {
				return fmt.Errorf("entry %d is not what the tree is over", index)
			}
		}
		if bundle.Len() > 0 {
			return errors.New("a bundle goes on behind its last entry")
		}
	}
	return nil
}
