// Go's net/http, crypto/tls and resolver:
//
//	get http URL TIMES | get https ADDRESS NAME | get dns NAME
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

func fetch(client *http.Client, url string) {
	answer, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

func main() {
	args := os.Args[2:]
	switch os.Args[1] {
	case "http":
		times, _ := strconv.Atoi(args[1])
		for n := 1; n <= times; n++ {
			fetch(http.DefaultClient, fmt.Sprintf("%s/%d", args[0], n))
		}
	case "https":
		dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, args[0])
		}
		fetch(&http.Client{Transport: &http.Transport{
			DialContext:       dial,
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		}}, "https://"+args[1]+"/")
	case "dns":
		resolver := net.Resolver{PreferGo: true}
		if _, err := resolver.LookupHost(context.Background(), args[0]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
