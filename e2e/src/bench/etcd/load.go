// Load for etcd as `etcd.rs` asks for it, with etcd's own client: puts in a closed loop, or one change to many watchers.
// Prints one line of JSON. The processor time is the server's, from /proc.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

type figures struct {
	Done  int     `json:"done"`
	Rate  float64 `json:"per_second"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	CPUus float64 `json:"cpu_us"`
}

var (
	endpoint = flag.String("endpoint", "", "host:port of the server")
	pid      = flag.Int("pid", 0, "the server's process, whose time is charged")
	what     = flag.String("what", "create", "create, update or watch")
	clients  = flag.Int("clients", 1, "connections")
	watchers = flag.Int("watchers", 1000, "watches, spread over the connections")
	changes  = flag.Int("changes", 100, "changes that are watched")
	size     = flag.Int("size", 700, "bytes of a value")
	seconds  = flag.Float64("seconds", 5, "length of a run, after one second of warm-up")
)

func main() {
	flag.Parse()
	connections := make([]*clientv3.Client, *clients)
	for i := range connections {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{*endpoint}, DialTimeout: 10 * time.Second})
		check(err)
		defer client.Close()
		connections[i] = client
	}
	var result figures
	if *what == "watch" {
		result = watch(connections)
	} else {
		puts(connections, time.Second, "warm")
		result = puts(connections, time.Duration(*seconds*float64(time.Second)), "run")
	}
	check(json.NewEncoder(os.Stdout).Encode(result))
}

// puts lets each connection put one value after another: new keys, or its own again and again.
func puts(connections []*clientv3.Client, length time.Duration, round string) figures {
	value := strings.Repeat("x", *size)
	times := make([][]float64, len(connections))
	before, begun := cpu(), time.Now()
	var group sync.WaitGroup
	for number, client := range connections {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := 0; time.Since(begun) < length; i++ {
				key := fmt.Sprintf("/registry/configmaps/default/%s-%d-%d", round, number, i)
				if *what == "update" {
					key = fmt.Sprintf("/registry/configmaps/default/mine-%d", number)
				}
				start := time.Now()
				_, err := client.Put(context.Background(), key, value)
				check(err)
				times[number] = append(times[number], ms(time.Since(start)))
			}
		}()
	}
	group.Wait()
	var all []float64
	for _, one := range times {
		all = append(all, one...)
	}
	return summary(all, time.Since(begun), cpu()-before)
}

// watch puts one key again and again, each time when all watchers have had the last change, and measures from the start of
// the put to each watcher's event.
func watch(connections []*clientv3.Client) figures {
	const key = "/registry/configmaps/default/watched"
	value := strings.Repeat("x", *size)
	_, err := connections[0].Put(context.Background(), key, value)
	check(err)
	arrivals := make(chan time.Time, *watchers)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var created sync.WaitGroup
	for i := range *watchers {
		created.Add(1)
		events := connections[i%len(connections)].Watch(ctx, key, clientv3.WithCreatedNotify())
		go func() {
			for answer := range events {
				if answer.Created {
					created.Done()
				}
				for range answer.Events {
					arrivals <- time.Now()
				}
			}
		}()
	}
	created.Wait()
	var all []float64
	var before time.Duration
	var begun time.Time
	const warm = 5
	for i := range *changes + warm {
		if i == warm {
			all, before, begun = nil, cpu(), time.Now()
		}
		start := time.Now()
		_, err := connections[0].Put(ctx, key, value)
		check(err)
		for range *watchers {
			all = append(all, ms((<-arrivals).Sub(start)))
		}
	}
	return summary(all, time.Since(begun), cpu()-before)
}

func summary(all []float64, took, used time.Duration) figures {
	sort.Float64s(all)
	at := func(share float64) float64 { return all[int(float64(len(all)-1)*share)] }
	done := float64(len(all))
	return figures{len(all), done / took.Seconds(), at(0.5), at(0.99), float64(used.Nanoseconds()) / 1e3 / done}
}

// cpu is the time that the server has used, user and system, in ticks of ten milliseconds.
func cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", *pid))
	check(err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		number, err := strconv.Atoi(field)
		check(err)
		ticks += number
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func ms(duration time.Duration) float64 {
	return float64(duration.Nanoseconds()) / 1e6
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
