// pgx: a pool, whose connections are replaced when they have gone.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const text = "größe 🐘 'quoted' \\ \"twice\""

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	seen := map[string]any{}
	// Host, port, user, password, database and root certificate are read from the environment.
	pool, err := pgxpool.New(ctx, "sslmode=verify-full pool_max_conns=4")
	must(err)
	defer pool.Close()
	conn, err := pool.Acquire(ctx)
	must(err)
	number := func(query string, arguments ...any) (n int) {
		must(conn.QueryRow(ctx, query, arguments...).Scan(&n))
		return n
	}

	var user string
	var one int
	must(conn.QueryRow(ctx, "select current_user::text, 1").Scan(&user, &one))
	seen["user"], seen["one"] = user, one
	var i int
	var t string
	var null *string
	var b []byte
	must(conn.QueryRow(ctx, "select $1::int, $2::text, $3::text, $4::bytea", 42, text, nil, []byte("\x00\xff'")).Scan(&i, &t, &null, &b))
	seen["parameters"] = []any{i, t, null, hex.EncodeToString(b)}
	_, err = conn.Conn().Prepare(ctx, "ten", "select $1::int")
	must(err)
	sum := 0
	for n := 1; n <= 10; n++ {
		sum += number("ten", n)
	}
	seen["prepared"] = sum

	_, err = conn.Exec(ctx, "create temp table fruit (name text primary key)")
	must(err)
	undo := errors.New("undo")
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "insert into fruit values ('apple')")
		must(err)
		return undo
	})
	if !errors.Is(err, undo) {
		must(err)
	}
	seen["after_rollback"] = number("select count(*) from fruit")
	must(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue("insert into fruit values ($1)", "apple")
		batch.Queue("insert into fruit values ($1)", "pear")
		return tx.SendBatch(ctx, batch).Close()
	}))
	seen["after_commit"] = number("select count(*) from fruit")
	var said *pgconn.PgError
	_, err = conn.Exec(ctx, "insert into fruit values ('pear')")
	if errors.As(err, &said) {
		seen["error"] = []string{said.Code, said.Message}
	}
	seen["after_error"] = number("select 1")

	done := make(chan error)
	go func() {
		time.Sleep(500 * time.Millisecond)
		done <- conn.Conn().PgConn().CancelRequest(ctx)
	}()
	_, err = conn.Exec(ctx, "select pg_sleep(600)")
	if errors.As(err, &said) {
		seen["cancelled"] = said.Code
	}
	must(<-done)
	seen["after_cancel"] = number("select 1")

	_, err = conn.Exec(ctx, "create temp table copied (i int, t text)")
	must(err)
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"i", "t"}, pgx.CopyFromSlice(10000, func(n int) ([]any, error) {
		return []any{n, text}, nil
	}))
	must(err)
	seen["copied_in"] = number("select count(*) from copied where t = $1", text)
	var out bytes.Buffer
	_, err = conn.Conn().PgConn().CopyTo(ctx, &out, "copy copied to stdout")
	must(err)
	seen["copied_out"] = bytes.Count(out.Bytes(), []byte("\n"))
	conn.Release()

	fmt.Println("sleep")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	must(pool.QueryRow(ctx, "select 1").Scan(&one))
	seen["woken"] = one
	must(json.NewEncoder(os.Stdout).Encode(seen))
}
